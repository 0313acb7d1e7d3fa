// tidepool shapes: the gradient of every learned size beside what the loss really does when the size changes.
#include <cmath>
#include <nlohmann/json.hpp>

#include "tools/command.h"
#include "tools/data_root.h"
#include "tools/progress.h"
#include "tools/run_config.h"
#include "train/escape.h"
#include "train/optimizer.h"
#include "train/run_directory.h"
#include "train/size_effects.h"

namespace tidepool {
namespace {

const char* axis_name(int axis, size_t axes_of_map) {
  static const char* const kNames[] = {"depth", "height", "width"};
  return kNames[3 - axes_of_map + static_cast<size_t>(axis)];
}

std::string axes_text(const SizeEffect& e, size_t axes_of_map) {
  std::string text;
  for (const int axis : e.axes) text += fmt::format("{}{}", text.empty() ? "" : "+", axis_name(axis, axes_of_map));
  return text;
}

Json json_of(const MeanOverBatches& m) {
  return {{"mean", m.mean}, {"standard_error", m.standard_error}};
}
Json json_of(const NeighbouringSize& n);
template <class T>
Json json_of(const std::optional<T>& value) {
  return value ? json_of(*value) : Json(nullptr);
}
Json json_of(const NeighbouringSize& n) {
  Json shapes = Json::object();
  for (const auto& [slot, size] : n.shapes) shapes[slot] = std::vector<int64_t>(size.begin(), size.end());
  return {{"length", n.length},          {"value", n.value}, {"gmacs", n.gmacs},
          {"change", json_of(n.change)}, {"shapes", shapes}, {"change_after_steps", json_of(n.change_after)}};
}

// Where both lie two standard errors and more from 0.
std::string agreement(const SizeEffect& e) {
  if (!e.gradient_per_row || !e.difference_per_row) return "-";
  const auto sign = [](const MeanOverBatches& m) {
    return std::abs(m.mean) < 2 * m.standard_error || m.mean == 0 ? 0 : m.mean > 0 ? 1 : -1;
  };
  const int a = sign(*e.gradient_per_row), b = sign(*e.difference_per_row);
  return a == 0 || b == 0 ? "-" : a == b ? "same" : "opposite";
}

Json json_of(const SizeEffects& all, size_t axes_of_map) {
  Json sizes = Json::array();
  for (const SizeEffect& e : all.sizes)
    sizes.push_back({{"parameter", e.parameter},
                     {"element", e.element},
                     {"axis", axes_text(e, axes_of_map)},
                     {"length", e.length},
                     {"value", e.value},
                     {"gradient", json_of(e.gradient)},
                     {"gradient_per_row", json_of(e.gradient_per_row)},
                     {"difference_per_row", json_of(e.difference_per_row)},
                     {"agreement", agreement(e)},
                     {"more", json_of(e.more)},
                     {"fewer", json_of(e.fewer)}});
  Json json{{"loss", all.loss},
            {"gmacs", all.gmacs},
            {"batches", all.batches},
            {"steps", all.steps},
            {"lr", all.steps > 0 ? Json(all.rate) : Json(nullptr)},
            {"sizes", sizes}};
  json["loss_after_steps"] = all.loss_after ? Json(*all.loss_after) : Json(nullptr);
  return json;
}

std::string text_of(const MeanOverBatches& m) {
  return fmt::format("{:+.5f} {} {:.5f}", m.mean, kPlusMinus, m.standard_error);
}
std::string text_of(const std::optional<MeanOverBatches>& m) {
  return m ? text_of(*m) : std::string("-");
}

std::string text_of(const SizeEffects& all, size_t axes_of_map, bool hold_sizes) {
  std::vector<std::string> header{"parameter", "axis",  "rows",     "gradient",  "per row",
                                  "measured",  "signs", "one more", "one fewer", "GMACs, %"};
  if (all.steps > 0) header.insert(header.end(), {"more, trained", "fewer, trained"});
  std::vector<std::vector<std::string>> rows;
  for (const SizeEffect& e : all.sizes) {
    const auto cost = [&](const std::optional<NeighbouringSize>& n) {
      return n ? fmt::format("{:+.1f}", 100 * (n->gmacs / all.gmacs - 1)) : std::string("-");
    };
    const auto change = [](const std::optional<NeighbouringSize>& n) { return n ? text_of(n->change) : "-"; };
    const auto after = [](const std::optional<NeighbouringSize>& n) { return n ? text_of(n->change_after) : "-"; };
    rows.push_back({e.parameter, axes_text(e, axes_of_map), std::to_string(e.length), text_of(e.gradient),
                    text_of(e.gradient_per_row), text_of(e.difference_per_row), agreement(e), change(e.more),
                    change(e.fewer), cost(e.more) + " " + cost(e.fewer)});
    if (all.steps > 0) rows.back().insert(rows.back().end(), {after(e.more), after(e.fewer)});
  }
  std::string text = text_table(header, rows, {.minor = {"gradient", "GMACs, %"}, .keep = {"parameter", "axis"}});
  text += fmt::format(
      "\nloss {:.4f} on {} batches of training images, {:.4f} GMACs; means over the batches {} standard error. "
      "gradient: "
      "of the parameter, by the backward pass; per row: the same per row or column of the map; measured: half the "
      "difference of the losses with one more and one fewer{}.\n",
      all.loss, all.batches, all.gmacs, kPlusMinus,
      hold_sizes ? ", the other maps keeping their sizes" : ", the other parameters keeping their values");
  if (all.loss_after)
    text += fmt::format("trained: loss less {:.4f}, that of the sizes as they are, each after {} steps at rate {:g}.\n",
                        *all.loss_after, all.steps, all.rate);
  return text;
}

std::string csv_of(const SizeEffects& all, size_t axes_of_map) {
  std::string text =
      "parameter,element,axis,length,value,gradient,gradient_error,gradient_per_row,gradient_per_row_error,"
      "difference_per_row,difference_per_row_error,agreement,more_length,more_gmacs,more_change,more_change_error,"
      "more_after,more_after_error,fewer_length,fewer_gmacs,fewer_change,fewer_change_error,fewer_after,"
      "fewer_after_error\n";
  for (const SizeEffect& e : all.sizes) {
    const auto mean = [](const std::optional<MeanOverBatches>& m) {
      return m ? fmt::format("{},{}", m->mean, m->standard_error) : std::string(",");
    };
    const auto near = [&](const std::optional<NeighbouringSize>& n) {
      return n ? fmt::format("{},{},{},{}", n->length, n->gmacs, mean(n->change), mean(n->change_after))
               : std::string(",,,,,");
    };
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{}\n", escape_csv(e.parameter), e.element,
                        axes_text(e, axes_of_map), e.length, e.value, mean(e.gradient), mean(e.gradient_per_row),
                        mean(e.difference_per_row), agreement(e), near(e.more), near(e.fewer));
  }
  return text;
}

// How many steps a checkpoint has behind it; 0 where it does not say.
int64_t step_of(const SafetensorsFile& file) {
  if (const auto position = file.tensors.find("state/position"); position != file.tensors.end())
    return static_cast<int64_t>(position->second.values().at(0));
  const auto said = file.metadata.find("step");  // of the best weights
  return said == file.metadata.end() ? 0 : std::strtoll(said->second.c_str(), nullptr, 10);
}

// The rate of the run's next step; --lr where it is given.
double rate_of(const Call& call, const Optimizer& optimizer, int64_t step) {
  if (call.given("lr")) return call.number("lr", 0, 1e6);
  const double rate = optimizer.learning_rate(step);
  if (rate == 0)
    throw Error("--steps: the rate of the run is 0 after step {}, where this checkpoint stands; expected --lr RATE",
                step);
  return rate;
}

int run(const Call& call) {
  if (call.json() && call.flag("csv")) throw Error("--csv: expected one of --json and --csv");
  SizeEffectsOptions options{.batches = call.integer("batches", 2, 1 << 20),
                             .steps = call.integer("steps", 0, 1 << 20),
                             .hold_sizes = call.choice("hold") == "sizes"};
  if (call.given("lr") && options.steps == 0) throw Error("--lr: the rate of --steps, of which there are none");
  const SavedRun saved = open_saved_run(expand_home(call.argument()));
  const Config config = load_config_text(completed_config(saved.config).dump(), saved.checkpoint.string() + " (config)",
                                         call.texts("set"));
  const auto network = make_run_network(config);
  if (network->learned_sizes().empty())
    throw Error("{}: {} has no size that is learned; expected a slot with dynopool, shape_adaptor or diffstride",
                saved.checkpoint.string(), config.model.name);
  const auto task = make_task(config, *network);
  load_network(saved.file, *network, saved.checkpoint);
  const RunData data = open_data(config.data, data_root_of(call, config.data));
  std::vector<std::pair<std::string, Tensor>> state;
  const std::string prefix = "state/optimizer/";
  for (const auto& [name, tensor] : saved.file.tensors)
    if (name.starts_with(prefix)) state.emplace_back(name.substr(prefix.size()), tensor);
  const int64_t per_epoch = Loader(data.train, data.normalisation, loader_options(config, true)).batches();
  const int64_t step = step_of(saved.file);
  options.epoch = step / std::max<int64_t>(1, per_epoch);
  if (options.steps > 0) {
    const Optimizer optimizer(config.optim, network->parameters(), per_epoch, config.train.epochs * per_epoch);
    options.rate = rate_of(call, optimizer, step);
    const int64_t second = optimizer.second_stage().value_or(0);
    if (!state.empty()) options.first_step = step - (step >= second ? second : 0);
  }
  Progress bar("sizes", static_cast<int64_t>(network->learned_sizes().size()), "sizes");
  options.progress = [&](int64_t done, int64_t /*sizes*/) { bar.update(done); };
  const SizeEffects all = measure_size_effects(config, *network, *task, data, state, options);
  bar.abandon();
  const size_t axes = static_cast<size_t>(network->options().input.rank()) - 2;
  if (call.json())
    print_json(json_of(all, axes));
  else if (call.flag("csv"))
    print(csv_of(all, axes));
  else
    print(text_of(all, axes, options.hold_sizes));
  return 0;
}

const Registered registered(
    {.name = "shapes",
     .help = "the gradient of every learned size beside the measured change of the loss",
     .arguments = {"RUN_OR_CHECKPOINT"},
     .options = {{.name = "batches",
                  .value = "N",
                  .help = "batches of training images over which means are taken",
                  .default_value = "20"},
                 {.name = "steps",
                  .value = "K",
                  .help = "compare also after K steps of training at the changed sizes",
                  .default_value = "0"},
                 {.name = "lr",
                  .value = "RATE",
                  .help = "learning rate of these steps (default: the run's at its next step)"},
                 {.name = "hold",
                  .value = "WHAT",
                  .help = "what the other slots keep when one size changes: the sizes of their maps, or their "
                          "parameters, so that maps behind it follow and may change too",
                  .default_value = "sizes",
                  .choices = {"sizes", "parameters"}},
                 set_option(),
                 data_option(),
                 {.name = "csv", .help = "write CSV"},
                 json_option()},
     .details =
         "Every size is changed by one row (column) up and down, with the checkpoint's weights and the same batches:\n"
         "training images, augmented, with the batch's own statistics as in training. The checkpoint is not changed.\n"
         "A run directory stands for its last.safetensors. Two calls print the same numbers.\n",
     .run = run});

}  // namespace
}  // namespace tidepool
