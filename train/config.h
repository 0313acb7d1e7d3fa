// A run's configuration: JSON files with `extends`, `--set`, defaults and checks, as typed structs.
#pragma once
#include <array>
#include <cmath>
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
#include "core/keys.h"
#include "data/variant.h"

namespace tidepool {

// Each key of a run stands once, below its member: parsing, checks, defaults, `tidepool keys`, docs/config.md and
// configs/schema.json follow from the lists (core/keys.h). A struct made by hand, as tests do, has the same defaults.
// What is registered (optimizers, data sets, networks, pooling operators) brings its own keys.

std::vector<KeyOption> network_options();
std::vector<KeyOption> data_set_options();
std::vector<KeyOption> task_options();
std::vector<KeyOption> pool_options();
/// In a group of parameters a key that is absent has no default: it is as in `optim`.
std::vector<KeyOption> optimizer_options(bool with_defaults);
std::vector<KeyOption> shape_learner_options();
/// "measure", and the names of known constants.
std::vector<std::string> normalize_words();

constexpr long double kLargestInt = 2147483647;

struct NormalizeKeys {
  void keys(Keys& k) {
    std::vector<double> mean, std;
    k.list("mean", mean, "One number per channel.").required().at_least(-1e6L).at_most(1e6L);
    k.list("std", std, "One number per channel.").required().at_least(1e-6L).at_most(1e6L);
    k.text("from", "The word that the numbers replace, in the config.json of a run. It changes nothing.");
  }
};

struct DataConfig {
  std::string name = "cifar100";
  Json options = Json::object();  // the data set's own keys
  std::string root;               // "": the usual folders
  VariantOptions variant;
  Json normalize = "measure";
  bool augment = true;
  int64_t padding = 4;
  bool shuffle = true;
  bool drop_last = false;
  std::optional<int64_t> train_images, test_images;  // none: all there are
  int64_t val_images = 0;                            // of the training images in use; 0: no validation part
  uint64_t val_seed = 0;
  uint64_t seed = 0;
  int64_t workers = 2;
  int64_t prefetch = 4;

  void keys(Keys& k) {
    k.select("name", name, "The data set.");
    k.options(data_set_options(), &options);
    k.text("root", root, "Folder of the data set's files. null: $TIDEPOOL_DATA, then ~/.cache/tidepool.")
        .or_null()
        .decides_no_weights();
    k.section("variant", variant, "What is done to each image after its augmentation.");
    k.json<NormalizeKeys>("normalize", normalize,
                          "Mean and standard deviation of each channel, as shares of the full byte range: y = (x / 255 "
                          "- mean) / std. measure: those of the training images in use, after the variant. cifar100, "
                          "imagenet: the usual constants. A run's config.json and checkpoints hold the numbers, and "
                          "evaluation uses those.")
        .or_word(normalize_words());
    k.choice(
        "augment", augment, {"none", "standard"},
        "standard: zero padding, a random crop, a random horizontal flip, in training; folder and voc have crops of "
        "their own. none: nothing.");
    k.integer("padding", padding,
              "Pixels of zero padding on each side before the random crop; folder and voc pay no heed to it.")
        .at_least(0)
        .at_most(65536);
    k.flag("shuffle", shuffle, "A new order of the training images each epoch; false: the file's order.");
    k.flag("drop_last", drop_last,
           "Leave out an epoch's last batch when it is not full. false: a step with the images that are left.");
    k.integer("train_images", train_images, "Train on the first so many images. null: all.")
        .at_least(1)
        .at_most(kLargestInt);
    k.integer(
         "val_images", val_images,
         "Images of the first train_images that are set apart for validation: best is chosen on them, and the test "
         "images are looked at once, at the end. 0: none, and nothing is chosen.")
        .at_least(0)
        .at_most(kLargestInt);
    k.integer("val_seed", val_seed, "Seed of the draw of the validation part, which does not follow train.seed.");
    k.integer("test_images", test_images, "Evaluate on the first so many images. null: all.")
        .at_least(1)
        .at_most(kLargestInt);
    k.integer(
        "seed", seed,
        "Seed of images that are made up; another seed is another data set. The order and the augmentation follow "
        "train.seed.");
    k.integer("workers", workers,
              "Threads that make batches; 0: the training thread does. Their number never changes a batch.")
        .at_least(0)
        .at_most(1024)
        .decides_no_weights();
    k.integer("prefetch", prefetch, "Batches held ready.").at_least(1).at_most(65536).decides_no_weights();
  }
};

/// One resize slot's operator.
struct PoolKeys {
  void keys(Keys& k) {
    k.select("type", "The operator's name in the registry.");
    k.options(pool_options());
  }
};

struct ModelConfig {
  std::string name = "vgg16";
  double width = 1;
  std::optional<int64_t> classes;  // none: as many as the data set has
  bool conv_bias = false;
  std::string stem;                        // "imagenet", "cifar"; "": by the image's size
  std::map<std::string, int64_t> strides;  // of empty slots
  std::string where = "before";
  std::string head;                                 // "": the network's first
  std::optional<double> dropout, stochastic_depth;  // none: the network's own
  Json pool = Json::object();                       // resize slot -> {"type": operator, its keys} or null
  std::string init;                                 // "": random initial values
  bool strict = true;

  void keys(Keys& k) {
    k.select("name", name, "The network.");
    k.options(network_options());
    k.number("width", width, "Scales all channels; 0.25 is a quarter of them.").above(0);
    k.integer("classes", classes, "Outputs of the last layer. null: as many as the data set has classes.")
        .at_least(1)
        .at_most(16777216);
    k.flag("conv_bias", conv_bias,
           "vgg16: biases in the convolutions; the batch norm behind each makes them needless.");
    k.choice("stem", stem, {"imagenet", "cifar"},
             "First layers for large images or for small ones, which keep their size there. null: cifar up to 64 "
             "pixels. vgg16 has one form.")
        .or_null();
    k.map("strides", strides, "Strides of empty resize slots, in place of the network's own: {\"stage3\": 1}.")
        .at_least(1)
        .at_most(1024);
    k.choice("where", where, {"before", "after"},
             "A slot's operator stands before the convolution whose stride it takes, or after that convolution's norm "
             "and activation, at up to four times its cost.");
    k.text("head", head,
           "The last layers. null: the network's first. vgg16: linear, one linear layer behind a global average; "
           "torchvision, a fifth pooling (pool5) and three linear layers, with conv_bias torchvision's vgg16_bn; fcn, "
           "for segmentation: 1x1 convolutions that score the last map and those behind pool3 and pool2, summed at "
           "the largest of them (FCN-8s).")
        .or_null();
    k.number(
         "dropout", dropout,
         "Dropout before the last layer. null: the network's own (efficientnet_b0, mobilenet_v2: 0.2; vgg16 with the "
         "head torchvision, before the last two: 0.5).")
        .at_least(0)
        .below(1);
    k.number("stochastic_depth", stochastic_depth,
             "Probability with which the last residual branch is left out while training; earlier ones in proportion. "
             "null: the network's own (efficientnet_b0: 0.2).")
        .at_least(0)
        .below(1);
    k.json_map<PoolKeys>("pool", pool,
                         "Which operator resizes the maps, by resize slot (vgg16: pool1 to pool4; efficientnet_b0: "
                         "stem, stage2, stage3, stage4, stage6; hrnet_w48: stem1, stem2, transition1 to transition3); "
                         "'default' fills the slots that are not named, but for those that read the image. null leaves "
                         "a slot empty: the network's own layer, 2x2 max pooling in vgg16, a stride elsewhere.")
        .or_null()
        .as_written()
        .described_in("operators.schema.json", "docs/operators.md");
    k.text("init", init,
           "Weights to start from: a state dict of torchvision (safetensors, or as torch.save writes it), a checkpoint "
           "or "
           "a run directory. Of a run with a moving average it is that. null: random initial values.")
        .or_null();
    k.flag(
        "strict", strict,
        "Every tensor of model.init and of the network has to fit. false: those that fit are taken; the others of the "
        "network, as a classifier of other classes, keep their initial values.");
  }
};

enum class GmacsUnit { kGiga, kInitial };
enum class GmacsControl { kMultiplier, kProjection };

struct LossConfig {
  double label_smoothing = 0;
  double gmacs_lambda = 0;
  GmacsUnit gmacs_unit = GmacsUnit::kGiga;
  std::optional<double> gmacs_target;  // none: no budget; NaN: "initial"
  double gmacs_rate = 0.01;
  GmacsControl gmacs_control = GmacsControl::kMultiplier;

  bool target_is_initial() const { return gmacs_target && std::isnan(*gmacs_target); }

  void keys(Keys& k) {
    k.number("label_smoothing", label_smoothing, "Share of the target spread evenly over all classes.")
        .at_least(0)
        .below(1);
    k.number("gmacs_lambda", gmacs_lambda, "Weight of the GMACs penalty, in loss per gmacs_unit.").at_least(0);
    k.choice("gmacs_unit", gmacs_unit, {"giga", "initial"},
             "Unit of the GMACs penalty. giga: 1e9 multiply-accumulates of one image. initial: those of the network "
             "at step 0, so that one lambda weighs as much in networks of any width.");
    k.number(
         "gmacs_target", gmacs_target,
         "A budget T in place of the penalty: learned sizes are held at a cost of T, in 1e9 multiply-accumulates of "
         "one image; initial: that of the network at step 0. null: none.")
        .above(0)
        .or_word({"initial"});
    k.number("gmacs_rate", gmacs_rate,
             "Rate rho of the multiplier mu that holds the budget: loss + mu G/T, and after each step that moves the "
             "sizes mu <- max(0, mu + rho (G/T - 1)), from mu = 0; G is the network's cost.")
        .above(0);
    k.choice(
        "gmacs_control", gmacs_control, {"multiplier", "projection"},
        "How the budget is held. multiplier: by mu, from above; sizes may cost less than T. projection: from both "
        "sides and without mu: after each step that moves the sizes they move on along the gradient of the cost, as "
        "far as it takes to have |G/T - 1| at most 0.02 where whole sizes allow it.");
  }
};

enum class ScheduleType { kCosine, kConstant, kStep, kLinear, kPolynomial, kExponential };

struct ScheduleConfig {
  ScheduleType type = ScheduleType::kCosine;
  double warmup_epochs = 0;
  double end_lr = 0;
  std::vector<double> milestones;
  double gamma = 0.1;
  double power = 0.9;
  double every_epochs = 1;

  void keys(Keys& k) {
    const auto warmup = [&] {
      k.number("warmup_epochs", warmup_epochs, "Epochs of linear rise to the learning rate.").at_least(0);
    };
    const auto end = [&] { k.number("end_lr", end_lr, "Learning rate after the last step.").at_least(0); };
    k.select("type", "The rate after the warm-up.");
    if (k.option("cosine", "Half a cosine from the learning rate to end_lr after the last step."))
      type = ScheduleType::kCosine;
    warmup();
    end();
    if (k.option("constant", "The learning rate as it is.")) type = ScheduleType::kConstant;
    warmup();
    if (k.option("step", "Times gamma at each milestone.")) type = ScheduleType::kStep;
    warmup();
    k.list("milestones", milestones, "Epochs after which the rate falls, in ascending order.")
        .required()
        .above(0)
        .at_most(kLargestInt);
    k.number("gamma", gamma, "What the rate is multiplied by at each milestone.").above(0).at_most(1);
    if (k.option("linear", "A straight line from the learning rate to end_lr after the last step."))
      type = ScheduleType::kLinear;
    warmup();
    end();
    if (k.option("polynomial", "From the learning rate to end_lr, by the share of the steps that are left to a power."))
      type = ScheduleType::kPolynomial;
    warmup();
    end();
    k.number("power", power, "Exponent of that share; 1 is linear.").above(0).at_most(100);
    if (k.option("exponential", "Times gamma again and again.")) type = ScheduleType::kExponential;
    warmup();
    k.number("gamma", gamma, "What the rate is multiplied by.").required().above(0).at_most(1);
    k.number("every_epochs", every_epochs, "Epochs between two falls, counted from the run's begin; 2.4 is allowed.")
        .above(0)
        .at_most(kLargestInt);
  }
};

/// Settings of a group of parameters. What it does not say is as in `optim`, and filled in here, but for `options`.
struct GroupSettings {
  double lr = 0.1;
  Json options = Json::object();       // the optimizer's own keys that the group says
  std::optional<double> weight_decay;  // none: the optimizer's, and 0 for batch norms, biases and shape parameters
  int64_t first_epoch = 0;
  std::optional<int64_t> last_epoch;  // none: that of the run
  int64_t every = 1;
  ScheduleConfig schedule;

  void keys(Keys& k) {
    k.number("lr", lr, "Learning rate.").otherwise("as in optim").at_least(0);
    k.options(optimizer_options(/*with_defaults=*/false), &options);
    k.number("weight_decay", weight_decay, "Weight decay, of every parameter in the group.")
        .otherwise("as in optim")
        .at_least(0);
    k.integer("first_epoch", first_epoch, "Epochs that pass before these parameters move; their warm-up begins there.")
        .at_least(0)
        .at_most(kLargestInt);
    k.integer("last_epoch", last_epoch,
              "Epochs after which these parameters stay as they are; their schedule ends there. null: they move to the "
              "end.")
        .at_least(1)
        .at_most(kLargestInt);
    k.integer("every", every, "An update every so many steps.").at_least(1);
    k.section("schedule", schedule, "A schedule of its own.").otherwise("as in optim");
    k.number("warmup_epochs", schedule.warmup_epochs, "Length of the warm-up in epochs; goes before the schedule's.")
        .otherwise("the schedule's")
        .at_least(0);
  }
};

/// Which estimate of their gradient moves the shape parameters: train/shape_learners/.
struct ShapeLearnerConfig {
  std::string type = "gradient";
  Json options = Json::object();  // its own keys; one that is absent has its default

  void keys(Keys& k) {
    k.select("type", type, "The learner.");
    k.options(shape_learner_options(), &options);
  }
};

/// Of parameters of kind shape. Rates, schedule and epochs are those of the group that has the parameter; the rest
/// holds of all of them.
struct ShapeSettings : GroupSettings {
  ShapeLearnerConfig learner;
  bool log = false;
  std::optional<double> normalize;       // none: gradients as they are
  std::optional<int64_t> retrain_after;  // none: one stage

  void keys(Keys& k) {
    GroupSettings::keys(k);
    k.section("learner", learner, "What the gradient of the shape parameters is taken from; of all of them.");
    k.flag(
        "log", log,
        "Learn the parameters' logarithms, so that a step is a share of the size; parameters have to be positive. Of "
        "all of them.");
    k.number(
         "normalize", normalize,
         "Divide each element's gradient by the root of its mean square, a moving average with this decay per "
         "update, corrected for its start at 0 as in Adam: the rate is then the length of a step, however noisy the "
         "gradient is. Of all of them. null: as it is.")
        .at_least(0)
        .below(1);
    k.integer(
         "retrain_after", retrain_after,
         "Two stages: after so many epochs all weights are re-initialised, as at the start of the run, with the sizes "
         "learned until then, which stay. Schedules and epochs of groups count within each stage. null: one "
         "stage.")
        .at_least(1)
        .at_most(kLargestInt);
  }
};

/// Parameters whose name matches; the first group that matches has them.
struct ParamGroupConfig : GroupSettings {
  std::string match;
  bool inherited = false;  // of a base or shipped config: may match no parameter of this network

  void keys(Keys& k) {
    k.text("match", match, "Pattern of parameter names (\"*.alpha\"): * is any characters, ? is one.").required();
    GroupSettings::keys(k);
  }
};

struct OptimConfig {
  std::string name = "sgd";
  double lr = 0.1;
  Json options = Json::object();  // the optimizer's own keys; one that is absent has its default
  double weight_decay = 5e-4;
  std::optional<double> grad_clip, ema;  // none: off
  std::optional<ShapeSettings> shape;    // of parameters of kind shape; none: as here
  std::vector<ParamGroupConfig> groups;
  ScheduleConfig schedule;

  void keys(Keys& k) {
    k.select("name", name, "The optimizer.");
    k.number("lr", lr, "Learning rate after the warm-up. adamw wants about 0.001, rmsprop about 0.01.").at_least(0);
    k.options(optimizer_options(/*with_defaults=*/true), &options);
    k.number("weight_decay", weight_decay,
             "L2 decay, added to the gradient (adamw: decoupled); batch norms, biases and shape parameters have none "
             "unless a group says so.")
        .at_least(0);
    k.number("grad_clip", grad_clip,
             "Largest global L2 norm of the gradient; a longer one is scaled down. null: no clipping.")
        .above(0);
    k.number("ema", ema, "Decay per step of a moving average of the weights, which evaluation then uses. null: none.")
        .above(0)
        .below(1);
    k.section("schedule", schedule, "The learning rate over the run: a linear warm-up, then by type.")
        .by_default(R"({"type": "cosine", "warmup_epochs": 1})");
    ShapeSettings sizes;
    sizes.lr = lr;
    sizes.schedule = schedule;
    k.section("shape", sizes,
              "Settings of all parameters that decide sizes of maps (alpha of dynopool and shape_adaptor, stride of "
              "diffstride); a group that matches one goes before. What it leaves out is as in optim.");
    shape = std::move(sizes);
    ParamGroupConfig as_here;
    as_here.lr = lr;
    as_here.schedule = schedule;
    k.sections("groups", groups, as_here,
               "Parameters with settings of their own, by name; the first group that matches has the parameter. What a "
               "group leaves out is as in optim.");
  }
};

struct TrainConfig {
  int64_t epochs = 200;
  int64_t batch = 128;
  std::string dtype = "f32";
  std::optional<int64_t> max_steps;
  uint64_t seed = 1;
  int64_t log_every = 50;
  std::optional<int64_t> checkpoint_every;
  int64_t eval_every = 1;
  std::string device = "auto";
  bool tensorboard = false;

  void keys(Keys& k) {
    k.integer("epochs", epochs, "Passes over the training images.").at_least(0).at_most(kLargestInt);
    k.integer("batch", batch,
              "Images per step. Batch norm needs two values per channel, so 1 fails where a map is a single pixel.")
        .at_least(1)
        .at_most(kLargestInt);
    k.choice("dtype", dtype, {"f32", "bf16", "f64"}, "Arithmetic type; bf16 keeps f32 master weights.");
    k.integer(
         "max_steps", max_steps,
         "Stop after so many steps; the schedule still counts epochs. 0 saves the initial weights. null: no limit.")
        .at_least(0);
    k.integer("seed", seed, "Seed of the initial weights, the order of the images, their augmentation and every draw.");
    k.integer("log_every", log_every,
              "Steps between log lines with shapes, speed and memory; the loss is logged at every step.")
        .at_least(1)
        .decides_no_weights();
    k.integer("checkpoint_every", checkpoint_every,
              "Steps between checkpoints, besides those at the end of an epoch. null: only those.")
        .at_least(1)
        .decides_no_weights();
    k.integer("eval_every", eval_every, "Epochs between evaluations; the last epoch is always evaluated.")
        .at_least(1)
        .at_most(kLargestInt);
    k.choice("device", device, {"auto", "cpu", "cuda"}, "auto: a GPU where there is one.").decides_no_weights();
    k.flag("tensorboard", tensorboard,
           "Also write the log, the shapes, some training images and the config as TensorBoard's event files.")
        .decides_no_weights();
  }
};

struct Config {
  std::string name;
  std::string math = "fast";
  bool tf32 = false;
  std::string cudnn = "heuristic";
  bool cuda_graph = true;
  bool fuse = true;
  std::string task = "classification";
  DataConfig data;
  ModelConfig model;
  LossConfig loss;
  OptimConfig optim;
  TrainConfig train;
  /// Everything with its defaults, without `extends`; loads again to an equal Config.
  Json resolved;
  /// What was read, the config asked for first: paths, and "NAME (compiled in)".
  std::vector<std::string> files;

  void keys(Keys& k) {
    k.text("$schema", "Path of configs/schema.json, for editors; tidepool does not read it.");
    k.text(
        "extends",
        "Another config, whose values come first: a path relative to this file, or the name of one in configs/ or in "
        "the program (cifar100_vgg16.json).");
    k.text("name", name, "The run's name; its folder gets it.")
        .otherwise("the file's name without .json")
        .decides_no_weights();
    k.choice(
        "math", math, {"fast", "exact"},
        "exact: convolutions are direct sums. fast: 3x3 ones may use Winograd's algorithm where it is faster, with "
        "rounding errors up to ten times larger, and a NaN that reaches all of its tile.");
    k.flag(
        "tf32", tf32,
        "On a GPU: convolutions and matrix products of f32 round their factors to TF32 (10 bits of mantissa), for its "
        "tensor cores.");
    k.choice(
        "cudnn", cudnn, {"heuristic", "measure"},
        "On a GPU: how a convolution's algorithm is chosen for a new shape. heuristic: cuDNN's first proposal that "
        "repeats its bits. measure: the fastest of eight, timed; another run may choose another, and round "
        "otherwise.");
    k.flag(
         "cuda_graph", cuda_graph,
         "On a GPU: a step whose shapes recur is recorded as a CUDA graph and replayed, with the same bits in less of "
         "the host's time; not with sizes that are learned.")
        .decides_no_weights();
    k.flag("fuse", fuse,
           "false: every layer runs by itself. The same numbers to rounding, more slowly and with more memory.");
    k.select("task", task, "What the network is trained for: its loss, its metrics, and what eval --output writes.");
    k.options(task_options());
    k.section("data", data, "What the network learns from.");
    k.section("model", model, "The network and what resizes its maps.");
    k.section("loss", loss, "What is minimised.");
    k.section("optim", optim, "How the weights move.");
    k.section("train", train, "The run.");
  }
};

/// The keys of a config.
const KeyList& config_keys();

/// Loads a config file. Where no such file is, a name alone (with or without ".json") is looked for in `configs/` of
/// the working directory, in `configs/` beside the program's source, and among the embedded configs, in this order. The
/// values of `extends` come first, then the file's own, then each KEY=VALUE of `sets` in their order. `extends` is
/// relative to the file that says it; where no such file is, it is looked for as a name alone. Objects merge deep, but
/// one whose "type" differs replaces the base's whole; lists are replaced. Throws Error.
Config load_config(const std::filesystem::path& file, std::span<const std::string> sets = {});

/// A value for a dotted key, laid over what the files of a config say, as --set does.
struct Setting {
  std::string key;
  Json value;
  std::string origin;  ///< "tables/mine.json:7:14", for errors
};

/// The config that `base` names in a file of `folder` (none: one in the program), as an `extends` there would, with
/// `settings` and then `sets` laid over it. `said_by` stands before an error about the name: "mine.json:2:3: base: ".
Config load_config_with(const std::string& base, const std::optional<std::filesystem::path>& folder,
                        const std::string& said_by, std::span<const Setting> settings,
                        std::span<const std::string> sets = {});

/// A config from text. `origin` names it in errors; `extends` is relative to `folder`.
Config load_config_text(std::string_view text, std::string_view origin = "config",
                        std::span<const std::string> sets = {}, const std::filesystem::path& folder = ".");

/// A config as some version of the program saved it, as this one would save it: newer keys have their defaults, which
/// are the old behaviour, and keys of an optimizer that the config does not name go. Checks nothing.
Json completed_config(Json saved);

/// Folders that a config's name alone is looked for in, before the copies in the program: whoever edits one there means
/// it to be used.
std::vector<std::filesystem::path> config_folders();

/// Says on the log what files a config was read from; the same files once in a process.
void log_config_files(const Config& config);

/// Names of the configs in the binary ("cifar100_vgg16.json", ...), sorted.
std::vector<std::string> embedded_configs();

/// The text of an embedded config; none when there is no such name.
std::optional<std::string_view> embedded_config(std::string_view name);

}  // namespace tidepool
