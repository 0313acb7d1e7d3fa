// From a config to the things that a run is made of.
#pragma once
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "data/loader.h"
#include "data/transform.h"
#include "models/network.h"
#include "train/config.h"

namespace tidepool {

DatasetOptions dataset_options(const DataConfig& config, const std::filesystem::path& root = {},
                               Split split = Split::kTrain);

/// A run's data set and how its images are normalised.
struct RunData {
  std::shared_ptr<const Dataset> train, test;
  std::shared_ptr<const Dataset> validation;  ///< on which the best epoch is chosen; null without data.val_images
  Normalisation normalisation;
  Json normalize;  ///< data.normalize as numbers; see stated_normalize

  ImageShape shape() const { return test->shape(); }
};

/// All parts. Throws Error naming the key or file.
RunData open_data(const DataConfig& config, const std::filesystem::path& root);
/// For evaluation: `train` and `validation` are null where data.normalize does not ask for the training images.
RunData open_test_data(const DataConfig& config, const std::filesystem::path& root);

/// data.normalize as {"mean": [...], "std": [...]}, with "from" where a word stood for them; "measure" as it is.
/// Throws Error when the numbers are not one per channel of the data set.
Json stated_normalize(const DataConfig& config);
/// The same with "measure" measured, in a pass over the images trained on; `root` as for open_data.
Json measured_normalize(const DataConfig& config, const std::filesystem::path& root);

/// What each class means, as a list of texts; empty where the data set does not know them all.
Json class_names(const Dataset& dataset);

LoaderOptions loader_options(const Config& config, bool training);

/// f32, bf16 or f64 from train.dtype.
DType run_dtype(const Config& config);

/// The config's network, for images as its data set has them; no file of the data set is needed. Throws Error for a
/// device that is not there, or without the libraries that a network needs.
std::unique_ptr<Network> make_run_network(const Config& config);

/// Sets model.classes from the files, where neither the config nor the data set's keys say how many there are.
Config with_classes(Config config, const std::filesystem::path& root);
/// Throws Error when a data set has more classes than the network.
void expect_classes_fit(const Dataset& dataset, const Network& network);

}  // namespace tidepool
