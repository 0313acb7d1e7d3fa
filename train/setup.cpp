#include "train/setup.h"

#include <nlohmann/json.hpp>
#include <tuple>

#include "core/backend/libraries.h"
#include "data/named_normalisation.h"
#include "data/normalisation.h"
#include "data/subset.h"

namespace tidepool {
namespace {

std::shared_ptr<const Dataset> open_split(const DataConfig& config, const std::filesystem::path& root, Split split) {
  return open_dataset(config.name, dataset_options(config, root, split));
}

// The training images without their validation part, and this part where there is one.
std::tuple<std::shared_ptr<const Dataset>, std::shared_ptr<const Dataset>> open_training(
    const DataConfig& config, const std::filesystem::path& root) {
  const auto whole = open_split(config, root, Split::kTrain);
  ValidationSplit split = split_validation(whole->size(), config.val_images, config.val_seed);
  if (split.validation.empty()) return {whole, nullptr};
  return {subset(whole, std::move(split.train)), subset(whole, std::move(split.validation))};
}

Json measure(const Dataset& train, const DataConfig& config) {
  const Normalisation measured = measure_normalisation(train, config.variant);
  return {{"mean", measured.mean}, {"std", measured.stddev}, {"from", "measure"}};
}

}  // namespace

DatasetOptions dataset_options(const DataConfig& config, const std::filesystem::path& root, Split split) {
  DatasetOptions options{.split = split,
                         .root = root,
                         .images = split == Split::kTrain ? config.train_images : config.test_images,
                         .seed = config.seed};
  Keys keys(config.options);
  if (const auto own = find_dataset(config.name).keys) own(keys, options);
  return options;
}

Json stated_normalize(const DataConfig& config) {
  Json numbers = config.normalize;
  if (numbers.is_string())
    for (const NamedNormalisation& known : kNamedNormalisations)
      if (config.normalize == known.name) numbers = {{"mean", known.mean}, {"std", known.stddev}, {"from", known.name}};
  if (numbers.is_string()) return numbers;
  const auto channels = static_cast<size_t>(dataset_format(config.name, dataset_options(config)).shape.channels);
  for (const char* key : {"mean", "std"})
    if (numbers.at(key).size() != channels)
      throw Error("data.normalize.{}: expected {} numbers, one per channel of {}, got {}", key, channels, config.name,
                  brief_json(numbers.at(key)));
  return numbers;
}

Json measured_normalize(const DataConfig& config, const std::filesystem::path& root) {
  Json numbers = stated_normalize(config);
  return numbers.is_string() ? measure(*std::get<0>(open_training(config, root)), config) : numbers;
}

RunData open_test_data(const DataConfig& config, const std::filesystem::path& root) {
  RunData data;
  data.test = open_split(config, root, Split::kTest);  // first: what does not fit is found before images are measured
  data.normalize = stated_normalize(config);
  if (data.normalize.is_string()) {
    std::tie(data.train, data.validation) = open_training(config, root);
    data.normalize = measure(*data.train, config);
  }
  data.normalisation = {.mean = data.normalize.at("mean").get<std::vector<float>>(),
                        .stddev = data.normalize.at("std").get<std::vector<float>>()};
  return data;
}

RunData open_data(const DataConfig& config, const std::filesystem::path& root) {
  RunData data = open_test_data(config, root);
  if (!data.train) std::tie(data.train, data.validation) = open_training(config, root);
  return data;
}

Json class_names(const Dataset& dataset) {
  Json names = Json::array();
  for (int32_t label = 0; label < dataset.classes(); ++label) {
    const std::string_view name = dataset.class_name(label);
    if (name.empty()) return Json::array();
    names.push_back(std::string(name));
  }
  return names;
}

LoaderOptions loader_options(const Config& config, bool training) {
  return {.batch = config.train.batch,
          .dtype = run_dtype(config),
          .seed = config.train.seed,
          .training = training,
          .shuffle = config.data.shuffle,
          .augment = {.type = config.data.augment ? "standard" : "none", .padding = config.data.padding},
          .variant = config.data.variant,
          .drop_last = training && config.data.drop_last,
          .workers = config.data.workers,
          .prefetch = config.data.prefetch};
}

DType run_dtype(const Config& config) {
  if (config.train.dtype == "bf16") return DType::bf16;
  return config.train.dtype == "f64" ? DType::f64 : DType::f32;
}

namespace {

void expect_classes_fit(const Dataset& dataset, int64_t classes) {
  if (classes < dataset.classes())
    throw Error("model.classes: {} has {} classes, got {}", dataset.name(), dataset.classes(), classes);
}

}  // namespace

Config with_classes(Config config, const std::filesystem::path& root) {
  if (dataset_format(config.data.name, dataset_options(config.data)).classes > 0) return config;
  const auto train = open_split(config.data, root, Split::kTrain);
  if (config.model.classes) {
    expect_classes_fit(*train, *config.model.classes);
    return config;
  }
  config.model.classes = train->classes();
  config.resolved["model"]["classes"] = *config.model.classes;
  return config;
}

void expect_classes_fit(const Dataset& dataset, const Network& network) {
  expect_classes_fit(dataset, network.options().classes);
}

std::unique_ptr<Network> make_run_network(const Config& config) {
  const DatasetFormat format = dataset_format(config.data.name, dataset_options(config.data));
  expect_variant_fits(config.data.variant, config.data.name, format);
  const int64_t classes = config.model.classes.value_or(format.classes);
  if (classes == 0)
    throw Error("model.classes: how many classes {} has, only its files say; expected a number here or in data.classes",
                config.data.name);
  if (classes < format.classes)
    throw Error("model.classes: {} has {} classes, got {}", config.data.name, format.classes, classes);
  const Device device = parse_device(config.train.device);
  if (const std::string problem = network_problem(device, run_dtype(config)); !problem.empty())
    throw Error("train.device: {}", problem);
  library_settings() = {.tf32 = config.tf32, .measure = config.cudnn == "measure", .graph = config.cuda_graph};
  return make_network({.name = config.model.name,
                       .width = config.model.width,
                       .classes = classes,
                       .conv_bias = config.model.conv_bias,
                       .input = {1, format.shape.channels, format.shape.height, format.shape.width},
                       .device = device,
                       .dtype = run_dtype(config),
                       .exact_math = config.math == "exact",
                       .fuse = config.fuse,
                       .seed = config.train.seed,
                       .where = config.model.where,
                       .strides = config.model.strides,
                       .stem = config.model.stem,
                       .head = config.model.head,
                       .dropout = config.model.dropout,
                       .stochastic_depth = config.model.stochastic_depth},
                      config.model.pool);
}

}  // namespace tidepool
