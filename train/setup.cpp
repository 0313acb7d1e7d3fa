#include "train/setup.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "data/normalisation.h"

namespace tidepool {
namespace {

VariantOptions variant_options(const VariantConfig& v) {
  return {.type = v.type, .factor = static_cast<double>(v.factor), .grid = v.grid, .size = v.size};
}

}  // namespace

RunData open_data(const DataConfig& config, const std::filesystem::path& root) {
  const auto open = [&](Split split, std::optional<int64_t> images) {
    return std::shared_ptr<const Source>(
        make_source(config.name, {.split = split, .root = root, .images = images, .seed = config.seed}));
  };
  RunData data{.train = open(Split::kTrain, config.train_images),
               .test = open(Split::kTest, config.test_images),
               .normalisation = {}};
  data.normalisation = measure_normalisation(*data.train, variant_options(config.variant));
  return data;
}

LoaderOptions loader_options(const Config& config, bool training) {
  return {.batch = config.train.batch,
          .seed = config.train.seed,
          .training = training,
          .shuffle = config.data.shuffle,
          .augment = {.type = config.data.augment ? "standard" : "none", .padding = config.data.padding},
          .variant = variant_options(config.data.variant),
          .drop_last = training && config.data.drop_last,
          .workers = config.data.workers,
          .prefetch = config.data.prefetch};
}

DType run_dtype(const Config& config) {
  if (config.train.dtype == "bf16") return DType::bf16;
  return config.train.dtype == "f64" ? DType::f64 : DType::f32;
}

std::unique_ptr<Network> make_run_network(const Config& config) {
  const SourceFormat format = source_format(config.data.name);
  const int64_t classes = config.model.classes.value_or(format.classes);
  if (classes < format.classes)
    throw Error("model.classes: {} has {} classes, got {}", config.data.name, format.classes, classes);
  return make_network({.name = config.model.name,
                       .width = config.model.width,
                       .classes = classes,
                       .conv_bias = config.model.conv_bias,
                       .input = {1, format.shape.channels, format.shape.height, format.shape.width},
                       .dtype = run_dtype(config),
                       .exact_math = config.math == "exact",
                       .seed = config.train.seed},
                      config.model.pool);
}

TensorBatch to_tensors(const Batch& batch, DType dtype) {
  const Dims shape{batch.n, batch.shape.channels, batch.shape.height, batch.shape.width};
  TensorBatch out{.images = Tensor::empty(shape, {.format = MemoryFormat::channels_last}),
                  .labels = Tensor::empty({batch.n}, {.dtype = DType::i64})};
  std::memcpy(out.images.raw(), batch.images.data(), static_cast<size_t>(out.images.numel()) * sizeof(float));
  out.images = out.images.to(dtype);
  for (int64_t i = 0; i < batch.n; ++i) out.labels.data<int64_t>()[i] = batch.labels[static_cast<size_t>(i)];
  return out;
}

}  // namespace tidepool
