#include "tools/run_config.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/philox.h"
#include "core/version.h"
#include "tools/data_root.h"
#include "tools/progress.h"

namespace tidepool {

Option epochs_option() {
  return {.name = "epochs", .value = "N", .help = "short for --set train.epochs=N"};
}
Option lr_option() {
  return {.name = "lr", .value = "RATE", .help = "short for --set optim.lr=RATE"};
}
Option batch_size_option() {
  return {.name = "batch-size", .value = "N", .help = "short for --set train.batch=N"};
}

namespace {

// A key that is set by its own option and by --set is set by neither of them alone.
void expect_once(const Call& call, const char* option, std::string_view key) {
  if (!call.given(option)) return;
  for (const std::string& set : call.texts("set"))
    if (std::string_view(set).substr(0, set.find('=')) == key)
      throw Error("--{} and --set {}: expected one of them", option, set);
}

}  // namespace

std::vector<std::string> config_sets(const Call& call) {
  expect_once(call, "epochs", "train.epochs");
  expect_once(call, "lr", "optim.lr");
  expect_once(call, "batch-size", "train.batch");
  expect_once(call, "device", "train.device");
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // as train/config.h has it
  std::vector<std::string> sets = call.texts("set");
  if (call.given("epochs")) sets.push_back(fmt::format("train.epochs={}", call.integer("epochs", 0, kMost)));
  if (call.given("lr"))
    sets.push_back(fmt::format("optim.lr={}", call.number("lr", 0, std::numeric_limits<double>::max())));
  if (call.given("batch-size")) sets.push_back(fmt::format("train.batch={}", call.integer("batch-size", 1, kMost)));
  if (call.given("device")) {
    call.device();  // refused under its own name
    sets.push_back(fmt::format("train.device={}", call.text("device")));
  }
  return sets;
}

Config config_of(const Call& call, size_t i, const std::string& otherwise) {
  return config_in(call, expand_home(call.argument(i).empty() ? otherwise : call.argument(i)));
}

Config config_in(const Call& call, const std::filesystem::path& file) {
  std::vector<std::string> sets = config_sets(call);
  expect_once(call, "seed", "train.seed");
  if (call.given("seed")) sets.push_back(fmt::format("train.seed={}", call.seed()));
  Config config = load_config(file, sets);
  config.model.init = expand_home(config.model.init).string();
  parse_device(config.train.device);
  return config;
}

std::string shell_word(const std::string& word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::filesystem::path data_root_of(const Call& call, const DataConfig& config) {
  return require_data(config.name, call.given("data") ? call.path("data").string() : "", config.root);
}

void expect_images_fit(const Network& network, int64_t n) {
  const Dims& shape = network.options().input;
  const double bytes = static_cast<double>(n) * static_cast<double>(shape[1] * shape[2] * shape[3]) * sizeof(float);
  const auto memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  if (bytes > memory)
    throw Error("train.batch: {} images of {}x{}x{} take {}, this machine has {} of memory", n, shape[1], shape[2],
                shape[3], bytes_text(bytes), bytes_text(memory));
}

TensorBatch made_up_batch(const Config& config, const Network& network, const Task& task, int64_t n) {
  expect_images_fit(network, n);
  Dims shape = network.options().input;
  shape[0] = n;
  TensorBatch batch{.images = Tensor::empty(shape, {.format = MemoryFormat::channels_last}), .labels = {}, .n = n};
  Random random(config.train.seed, 1);
  for (int64_t i = 0; i < batch.images.numel(); ++i)
    batch.images.mutable_data<float>()[i] = static_cast<float>(2 * random.uniform() - 1);
  batch.labels = task.random_labels(batch.images, random);
  batch.images = batch.images.to(network.options().dtype).to(network.options().device);
  batch.labels = batch.labels.to(network.options().device);
  return batch;
}

StepLosses waited_step(Stepper& stepper, const TensorBatch& batch, int64_t step) {
  StepLosses losses = stepper.step(batch, step);
  StepLosses* const one[] = {&losses};
  stepper.read_losses(one, step);
  stepper.settle();
  return losses;
}

std::vector<std::string> progress_notes(const RunProgress& progress) {
  std::vector<std::string> notes{
      fmt::format("epoch {}/{}", std::min(progress.epoch + 1, progress.epochs), progress.epochs)};
  if (progress.loss) notes.push_back(fmt::format("loss {:.3f}", *progress.loss));
  if (progress.metric) notes.push_back(progress.metric->text());
  if (progress.images_per_second > 0) notes.push_back(fmt::format("{:.0f} images/s", progress.images_per_second));
  return notes;
}

Json provenance(const std::vector<std::string>& command) {
  Json libraries = Json::object();
  for (size_t i = 0; i < kLibraryCount; ++i) libraries[kLibraries[i].name] = kLibraries[i].version;
  return {{"command", command},    {"version", kVersion},    {"revision", *kRevision ? Json(kRevision) : Json(nullptr)},
          {"compiler", kCompiler}, {"libraries", libraries}, {"threads", cpu_threads()}};
}

}  // namespace tidepool
