#include "train/image_fidelity.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "core/parallel.h"
#include "data/transform.h"
#include "layers/pool/prepared.h"
#include "train/setup.h"

namespace tidepool {

Fidelity image_fidelity(const Json& pool, const DataConfig& data, const std::filesystem::path& root) {
  const auto dataset = open_dataset(data.name, dataset_options(data, root, Split::kTest));
  const auto op = make_pool_operator(nlohmann::json(pool));
  const ImageShape shape = dataset->shape();
  const int64_t places = shape.height * shape.width;
  const Transform transform(shape, {.type = "none", .cropping = dataset->format().cropping}, {});
  TransformScratch scratch;
  Sample sample;
  std::vector<float> image(static_cast<size_t>(shape.elements()));
  constexpr int64_t kBatch = 256;
  Fidelity sum;
  for (int64_t begin = 0; begin < dataset->size(); begin += kBatch) {
    const int64_t end = std::min(begin + kBatch, dataset->size());
    Tensor x = Tensor::empty({end - begin, shape.channels, shape.height, shape.width});
    float* const values = x.mutable_data<float>();
    int64_t n = 0;
    for (int64_t index = begin; index < end; ++index) {
      try {
        dataset->read(index, sample);
      } catch (const SkippedImage&) {
        continue;
      }
      transform.image(sample, std::nullopt, image.data(), scratch);
      for (int64_t p = 0; p < places; ++p)
        for (int64_t c = 0; c < shape.channels; ++c)
          values[(n * shape.channels + c) * places + p] = image[static_cast<size_t>(p * shape.channels + c)];
      ++n;
    }
    if (n == 0) continue;
    x = x.slice(0, 0, n);
    const Tensor y = op->forward(x, initial_values(*op, x.shape(), DType::f32, 0), {}).contiguous(MemoryFormat::plain);
    const int64_t height = y.size(2), width = y.size(3);
    std::vector<Fidelity> planes(static_cast<size_t>(n * shape.channels));
    parallel_chunks(n * shape.channels, 16, [&](int64_t first, int64_t last) {
      for (int64_t p = first; p < last; ++p)
        planes[static_cast<size_t>(p)] = compare_enlarged({values + p * places, shape.height, shape.width},
                                                          {y.data<float>() + p * height * width, height, width});
    });
    for (const Fidelity& plane : planes) sum += plane;
  }
  return sum;
}

}  // namespace tidepool
