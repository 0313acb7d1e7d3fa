// A run's configuration: JSON files with `extends`, `--set`, defaults and checks, as typed structs.
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace tidepool {

// The members mirror the keys; configs/schema.json says what each means and holds the defaults, so that there is one
// place for them. A struct made by hand, as tests do, starts from the values below.

struct VariantConfig {
  std::string type = "none";  // none, stretch_v, stretch_h, tile, large
  double factor = 2.0;        // stretch_v, stretch_h: how many times longer the axis becomes
  int64_t grid = 4;           // tile: copies along each axis
  int64_t size = 8;           // large: pixels that the image is shrunk to
};

struct DataConfig {
  std::string name = "cifar100";  // of data/sets/
  std::string root;               // "": the usual places
  VariantConfig variant;
  /// "measure", the name of known constants, or {"mean": [...], "std": [...]} with one number per channel.
  Json normalize = "measure";
  bool augment = true;  // "standard": zero padding, random crop, horizontal flip
  int64_t padding = 4;  // pixels on each side
  bool shuffle = true;
  bool drop_last = false;               // leave out an epoch's last batch when it is not full
  int64_t val_images = 0;               // of the training images in use; 0: no validation part
  uint64_t val_seed = 0;                // draws them
  std::optional<int64_t> train_images;  // none: all there are
  std::optional<int64_t> test_images;
  std::optional<std::array<int64_t, 2>> size;  // height and width; none: the data set's own
  std::optional<int64_t> classes;              // none: the data set's own
  uint64_t seed = 0;                           // of images that are made up
  int64_t workers = 2;                         // threads; 0: the training thread loads
  int64_t prefetch = 4;                        // batches held ready
};

struct ModelConfig {
  std::string name = "vgg16";
  double width = 1.0;
  std::optional<int64_t> classes;  // none: as many as the data set has
  bool conv_bias = false;
  std::string stem;                        // "imagenet", "cifar"; empty: by the image's size
  std::map<std::string, int64_t> strides;  // of empty slots
  std::string where = "before";
  std::string head;                                 // empty: the network's first
  std::optional<double> dropout, stochastic_depth;  // none: the network's own
  /// Resize slot -> {"type": operator, its keys} or null; "default" fills every slot that is not named. The operator
  /// registry checks the keys beside "type".
  Json pool = Json::object();
};

struct LossConfig {
  double label_smoothing = 0.0;
  double gmacs_lambda = 0.0;
};

enum class ScheduleType { kCosine, kConstant, kStep, kLinear };

struct ScheduleConfig {
  ScheduleType type = ScheduleType::kCosine;
  double warmup_epochs = 0.0;
  double end_lr = 0.0;             // cosine, linear
  std::vector<double> milestones;  // step: epochs, ascending
  double gamma = 0.1;              // step
};

/// Parameters whose name matches; the first group that matches has them. What a group does not say is as in `optim`,
/// and filled in here, but for `options`.
struct ParamGroupConfig {
  std::string match;  // glob over parameter names: * any characters, ? one
  double lr = 0.1;
  Json options = Json::object();       // the optimizer's own keys that the group says
  std::optional<double> weight_decay;  // none: the optimizer's, and 0 for batch norms, biases and shape parameters
  int64_t first_epoch = 0;             // epochs that pass before these parameters move
  int64_t every = 1;                   // an update every so many steps
  bool inherited = false;              // of a base or shipped config: may match no parameter of this network
  ScheduleConfig schedule;
};

struct OptimConfig {
  std::string name = "sgd";  // of train/optimizers/
  double lr = 0.1;
  Json options = Json::object();  // the optimizer's own keys; one that is absent has its default
  double weight_decay = 5e-4;
  std::optional<double> grad_clip;  // largest global norm of the gradient
  std::optional<double> ema;        // decay of the moving average of the weights
  std::vector<ParamGroupConfig> groups;
  ScheduleConfig schedule;
};

struct TrainConfig {
  int64_t epochs = 200;
  int64_t batch = 128;
  std::string dtype = "f32";         // f32, bf16, f64
  std::optional<int64_t> max_steps;  // the run stops there; the schedule still counts epochs
  uint64_t seed = 1;
  int64_t log_every = 50;                   // steps between log lines with everything in them
  std::optional<int64_t> checkpoint_every;  // steps; none: at the end of each epoch only
  int64_t eval_every = 1;                   // epochs
  std::string device = "auto";              // auto, cpu, cuda
};

struct Config {
  std::string name;
  std::string math = "fast";            // fast, exact: no Winograd
  bool fuse = true;                     // false: every layer by itself
  std::string task = "classification";  // of train/tasks/
  DataConfig data;
  ModelConfig model;
  LossConfig loss;
  OptimConfig optim;
  TrainConfig train;
  /// Everything with its defaults, without `extends`; loads again to an equal Config.
  Json resolved;
  /// What was read, the config asked for first: paths, and "NAME (compiled in)".
  std::vector<std::string> files;
};

/// Loads a config file. Where no such file is, a name alone (with or without ".json") is looked for in `configs/` of
/// the working directory, in `configs/` beside the program's source, and among the embedded configs, in this order. The
/// values of `extends` come first, then the file's own, then each KEY=VALUE of `sets` in their order. `extends` is
/// relative to the file that says it; where no such file is, it is looked for as a name alone. Objects merge deep, but
/// one whose "type" differs replaces the base's whole; lists are replaced. Throws Error.
Config load_config(const std::filesystem::path& file, std::span<const std::string> sets = {});

/// The same from text. `origin` names it in errors; `extends` is relative to `folder`.
Config load_config_text(std::string_view text, std::string_view origin = "config",
                        std::span<const std::string> sets = {}, const std::filesystem::path& folder = ".");

/// A config as some version of the program saved it, as this one would save it: newer keys have their defaults, which
/// are the old behaviour, and keys of an optimizer that the config does not name go. Checks nothing.
Json completed_config(Json saved);

/// Says on the log what files a config was read from; the same files once in a process.
void log_config_files(const Config& config);

/// Names of the configs in the binary ("cifar100_vgg16.json", ...), sorted.
std::vector<std::string> embedded_configs();

/// The text of an embedded config, or of "schema.json"; none when there is no such name.
std::optional<std::string_view> embedded_config(std::string_view name);

}  // namespace tidepool
