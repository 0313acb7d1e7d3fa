// tidepool info: what a config's network is made of, and what a step of it keeps in memory.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/allocator.h"
#include "tools/command.h"
#include "tools/data_root.h"
#include "tools/run_config.h"
#include "train/run_directory.h"
#include "train/step.h"

namespace tidepool {
namespace {

// A training step on made-up images, watched.
struct StepMemory {
  std::map<std::string, size_t> saved;  // layer -> bytes kept for backward
  size_t saved_bytes = 0, peak_bytes = 0;
  double gmacs_penalty = 0;
  std::vector<int64_t> batches;  // of the steps in which it was measured
};

// The step moves nothing: its learning rates are 0.
StepMemory measure_step(const Config& config, Network& network, int64_t batch_size) {
  const auto task = make_task(config, network);
  OptimConfig still = config.optim;
  still.lr = 0;
  for (ParamGroupConfig& group : still.groups) group.lr = 0;
  if (still.shape) still.shape->lr = 0;
  Optimizer optimizer(still, network.parameters(), 1, 1);
  Stepper stepper(network, *task, optimizer, config.loss, config.train.seed);
  StepMemory memory;
  memory.batches = {batch_size};
  stepper.after_forward = [&](const Tape& tape) {
    for (const SavedBytes& row : tape.saved_bytes()) {
      memory.saved[row.layer.empty() ? row.op : row.layer] += row.bytes;
      memory.saved_bytes += row.bytes;
    }
  };
  const TensorBatch batch = made_up_batch(config, network, *task, batch_size);
  Allocator::of(network.options().device).reset_peak();
  memory.gmacs_penalty = waited_step(stepper, batch, 0).penalty;
  memory.peak_bytes = Allocator::of(network.options().device).stats().peak_bytes;
  return memory;
}

// Of a step of the config's batch. Where that is more than a machine may hold, from two steps of fewer images, in which
// maps outweigh the weights: bytes are so many for each image and a rest.
StepMemory measure(const Config& config, Network& network, const Trace& trace) {
  constexpr double kMostBytes = 4e9, kEnoughBytes = 5e8;  // of maps
  const int64_t batch = config.train.batch;
  double bytes_per_image = 0;
  bool needs_two = false;  // a batch norm of one position
  for (const TracedLayer& layer : trace.layers) {
    const int64_t elements = layer.output.dims().product();
    bytes_per_image += static_cast<double>(elements) * static_cast<double>(size_of(run_dtype(config)));
    needs_two |= layer.batch_statistics && elements == layer.output.c;
  }
  const auto few = std::max<int64_t>(needs_two ? 2 : 1, std::llround(kEnoughBytes / bytes_per_image));
  if (batch <= 2 * few || bytes_per_image * static_cast<double>(batch) <= kMostBytes)
    return measure_step(config, network, batch);
  expect_images_fit(network, batch);
  StepMemory memory = measure_step(config, network, few);
  const StepMemory twice = measure_step(config, network, 2 * few);
  const double times = static_cast<double>(batch - few) / static_cast<double>(few);
  const auto extend = [&](size_t& bytes, size_t at_twice) {
    bytes += static_cast<size_t>(times * static_cast<double>(at_twice - bytes));
  };
  for (auto& [layer, bytes] : memory.saved) extend(bytes, twice.saved.at(layer));
  extend(memory.saved_bytes, twice.saved_bytes);
  extend(memory.peak_bytes, twice.peak_bytes);
  memory.batches.push_back(2 * few);
  return memory;
}

// data.normalize in numbers; "measure" where the images to be measured are not there.
Json normalize_of(const DataConfig& config) {
  const Json stated = stated_normalize(config);
  if (!stated.is_string()) return stated;
  const auto root = available_data(config.name, "", config.root);
  return root ? measured_normalize(config, *root) : stated;
}

std::string normalize_text(const Json& normalize) {
  if (normalize.is_string()) return "the mean and std of the training images, which were not found here";
  const auto numbers = [&](const char* key) {
    return fmt::format("{:.4f}", fmt::join(normalize.at(key).get<std::vector<double>>(), " "));
  };
  return fmt::format("mean {}, std {}{}", numbers("mean"), numbers("std"),
                     normalize.contains("from") ? fmt::format(" ({})", normalize["from"].get<std::string>()) : "");
}

std::string shape_text(const Dims& shape) {
  return Dims(std::span(shape.begin() + 1, shape.end())).str();
}

// What the argument names: a config, or a run or checkpoint with what it has learned.
struct Subject {
  Config config;
  std::optional<SavedRun> saved;
};

Subject subject_of(const Call& call) {
  namespace fs = std::filesystem;
  const fs::path named = expand_home(call.argument());
  if (fs::is_directory(named)) {
    if (!fs::exists(named / "config.json"))
      throw Error("{}: expected a config or a run directory, it holds no config.json", named.string());
    Subject subject{.config = config_in(call, named / "config.json"), .saved = {}};
    if (fs::exists(named / "last.safetensors")) subject.saved = open_saved_run(named);
    return subject;
  }
  if (named.extension() != ".safetensors") return {.config = config_of(call), .saved = {}};
  SavedRun saved = open_saved_run(named);
  std::vector<std::string> sets = call.texts("set");
  if (call.given("seed")) sets.push_back(fmt::format("train.seed={}", call.seed()));
  return {.config = load_config_text(completed_config(saved.config).dump(), named.string() + " (config)", sets),
          .saved = std::move(saved)};
}

// Every resize slot, the empty ones too, with the size of its map.
std::vector<std::pair<const Slot*, Dims>> slot_sizes(const Network& network) {
  std::vector<std::pair<const Slot*, Dims>> all;
  const auto shapes = network.slot_shapes();
  for (size_t i = 0; i < shapes.size(); ++i) all.emplace_back(&network.graph().slots[i], shapes[i].second);
  return all;
}

int run(const Call& call) {
  const Subject subject = subject_of(call);
  const Config& config = subject.config;
  const auto network = make_run_network(config);
  if (subject.saved) load_weights(subject.saved->file, *network, subject.saved->checkpoint);
  const Trace trace = network->trace();  // before the step moves a shape
  const StepMemory memory = measure(config, *network, trace);
  const Json normalize = normalize_of(config.data);
  const auto saved_of = [&](const std::string& name) {
    const auto found = memory.saved.find(name);
    return found == memory.saved.end() ? size_t{0} : found->second;
  };

  log_config_files(config);
  if (call.json()) {
    Json layers = Json::array();
    for (const TracedLayer& layer : trace.layers) {
      const Dims shape = layer.output.dims();
      layers.push_back({{"name", layer.name},
                        {"kind", layer.kind},
                        {"output", std::vector<int64_t>(shape.begin(), shape.end())},
                        {"parameters", layer.parameters},
                        {"macs", layer.macs()},
                        {"saved_bytes", saved_of(layer.name)}});
    }
    Json slots = Json::array();
    for (const auto& [slot, size] : slot_sizes(*network))
      slots.push_back(
          {{"name", slot->name}, {"kind", slot->kind}, {"output", std::vector<int64_t>(size.begin(), size.end())}});
    print_json({{"name", config.name},
                {"parameters", trace.parameters()},
                {"macs", trace.macs()},
                {"gmacs_penalty", memory.gmacs_penalty},
                {"batch", config.train.batch},
                {"dtype", config.train.dtype},
                {"normalize", normalize},
                {"saved_bytes", memory.saved_bytes},
                {"peak_bytes", memory.peak_bytes},
                {"measured_batches", memory.batches},
                {"slots", slots},
                {"layers", layers}});
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const TracedLayer& layer : trace.layers)
    rows.push_back({layer.name, layer.kind, shape_text(layer.output.dims()), std::to_string(layer.parameters),
                    std::to_string(layer.macs()), std::to_string(saved_of(layer.name))});
  rows.push_back({"total", "", "", std::to_string(trace.parameters()), std::to_string(trace.macs()),
                  std::to_string(memory.saved_bytes)});
  print(text_table({"layer", "kind", "output", "parameters", "MACs", "saved bytes"}, rows,
                   {.minor = {"kind", "saved bytes"}}));
  rows.clear();
  for (const auto& [slot, size] : slot_sizes(*network)) rows.push_back({slot->name, slot->kind, size.str()});
  if (!rows.empty()) print(text_table({"slot", "filled with", "map"}, rows));
  print(fmt::format(
      "{:.4f} GMACs per image; a training step at batch {} in {} takes {:.1f} MiB at its peak{}\n", trace.gmacs(),
      config.train.batch, config.train.dtype, static_cast<double>(memory.peak_bytes) / (1 << 20),
      memory.batches.size() > 1 ? fmt::format(" (by steps of {} images)", fmt::join(memory.batches, " and ")) : ""));
  print(fmt::format("images are normalised by {}\n", normalize_text(normalize)));
  return 0;
}

const Registered registered(
    {.name = "info",
     .help = "a table of a network's layers: shapes, parameters, multiply-adds, memory",
     .arguments = {"CONFIG_OR_RUN"},
     .options = {set_option(), seed_option("", "overrides train.seed"), json_option()},
     .details =
         "A run directory or a checkpoint stands for its config, with the sizes that it has learned.\n"
         "Memory is measured in one training step on made-up images, or where that would need much of it, in two of\n"
         "fewer images; no data set is needed, but for the numbers of data.normalize where those are to be\n"
         "measured.\n",
     .run = run});

}  // namespace
}  // namespace tidepool
