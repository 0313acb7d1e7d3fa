// From a config to the things that a run is made of.
#pragma once
#include <filesystem>
#include <memory>

#include "data/loader.h"
#include "data/source.h"
#include "data/transform.h"
#include "models/network.h"
#include "train/config.h"

namespace tidepool {

/// Both splits of a run's data set and the statistics of its variant.
struct RunData {
  std::shared_ptr<const Source> train, test;
  Normalisation normalisation;

  ImageShape shape() const { return train->shape(); }
};

/// Throws Error naming the key or file.
RunData open_data(const DataConfig& config, const std::filesystem::path& root);

LoaderOptions loader_options(const Config& config, bool training);

/// f32, bf16 or f64 from train.dtype.
DType run_dtype(const Config& config);

/// The config's network, for images as its data set has them; no file of the data set is needed.
std::unique_ptr<Network> make_run_network(const Config& config);

/// A batch as the network takes it: images (N, C, H, W), channels-last, in `dtype`; labels i64 (N).
struct TensorBatch {
  Tensor images, labels;
};
TensorBatch to_tensors(const Batch& batch, DType dtype);

}  // namespace tidepool
