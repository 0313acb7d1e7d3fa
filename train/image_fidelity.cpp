#include "train/image_fidelity.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/parallel.h"
#include "data/source.h"
#include "layers/pool/prepared.h"

namespace tidepool {

Fidelity image_fidelity(const Json& pool, const DataConfig& data, const std::filesystem::path& root) {
  const auto source =
      make_source(data.name, {.split = Split::kTest, .root = root, .images = data.test_images, .seed = data.seed});
  const auto op = make_pool_operator(nlohmann::json(pool));
  const ImageShape shape = source->shape();
  const int64_t places = shape.height * shape.width;
  constexpr int64_t kBatch = 256;
  Fidelity sum;
  for (int64_t begin = 0; begin < source->size(); begin += kBatch) {
    const int64_t n = std::min(kBatch, source->size() - begin);
    const Tensor x = Tensor::empty({n, shape.channels, shape.height, shape.width});
    float* const values = x.mutable_data<float>();
    for (int64_t i = 0; i < n; ++i) {
      const uint8_t* const pixels = source->pixels(begin + i);
      std::transform(pixels, pixels + shape.elements(), values + i * shape.elements(),
                     [](uint8_t v) { return static_cast<float>(v) / 255.0f; });
    }
    const Tensor y = op->forward(x, start_values(*op, x.shape(), DType::f32, 0), {}).contiguous(MemoryFormat::plain);
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
