#include "tools/table_measure.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/tape.h"
#include "layers/pool/prepared.h"
#include "tools/command.h"
#include "tools/run_config.h"
#include "tools/timing.h"
#include "train/shape_learners/learner.h"
#include "train/step.h"

namespace tidepool {
namespace {

struct NetworkCost {
  double step_seconds = 0, evaluation_seconds = 0;  // per image
  int64_t images = 0;                               // of the batch that was measured
};

// Of a batch that is made smaller where a step would take long: a second step of about as many multiply-adds.
NetworkCost network_cost(const Config& config, const std::filesystem::path& root) {
  constexpr double kGmacs = 6;  // forward, of the batch
  const auto network = make_run_network(with_classes(config, root));
  const auto task = make_task(config, *network);
  const double gmacs = std::max(network->trace().gmacs(), 1e-9);
  NetworkCost cost;
  cost.images = std::clamp<int64_t>(static_cast<int64_t>(kGmacs / gmacs), std::min<int64_t>(2, config.train.batch),
                                    config.train.batch);
  // Sizes move from the first step on, so that what their learner costs is seen: once in so many steps.
  OptimConfig optim = config.optim;
  int64_t every = 1;
  if (optim.shape) {
    optim.shape->first_epoch = 0;
    optim.shape->last_epoch.reset();
    if (!find_shape_learner(optim.shape->learner.type).make(optim.shape->learner.options)->uses_backward())
      every = std::min<int64_t>(optim.shape->every, 16);
  }
  Optimizer optimizer(optim, network->parameters(), 1 << 20, 1 << 20);
  Stepper stepper(*network, *task, optimizer, config.loss, config.train.seed);
  const TensorBatch batch = made_up_batch(config, *network, *task, cost.images);
  const auto seconds = [&](const auto& work) {
    work();  // the allocator gets what it needs
    double least = 0;
    for (int i = 0; i < 2; ++i) {
      const auto begin = Clock::now();
      work();
      const double took = seconds_between(begin, Clock::now());
      least = i == 0 ? took : std::min(least, took);
    }
    return least / static_cast<double>(cost.images);
  };
  int64_t step = 0;
  cost.step_seconds = seconds([&] {
                        for (int64_t i = 0; i < every; ++i) waited_step(stepper, batch, step++);
                      }) /
                      static_cast<double>(every);
  cost.evaluation_seconds = seconds([&] {
    Tensor one = network->forward(batch.images, {.training = false});
    while (one.rank() > 0) one = one.select(0, 0);
    one.item();  // a device's work is done
  });
  return cost;
}

// What decides the cost of a step.
std::string cost_key(const Config& config) {
  Json json{{"model", config.model.pool},  {"task", config.task},         {"optimizer", config.optim.name},
            {"batch", config.train.batch}, {"dtype", config.train.dtype}, {"math", config.math},
            {"fuse", config.fuse},         {"data", config.data.name},    {"options", config.data.options}};
  json["model"] = config.resolved.at("model");
  json["model"].erase("init");
  if (config.optim.shape)
    json["learner"] = {config.optim.shape->learner.type, config.optim.shape->learner.options,
                       config.optim.shape->every};
  return json.dump();
}

// Images that a run's epoch has before data.val_images, and those of its test.
struct DataSize {
  int64_t train = 0, test = 0;
};
DataSize data_size(const Config& config, const std::filesystem::path& root) {
  const auto size = [&](Split split) {
    return open_dataset(config.data.name, dataset_options(config.data, root, split))->size();
  };
  return {.train = size(Split::kTrain), .test = size(Split::kTest)};
}

double evaluated_images(const Config& config, const DataSize& size) {
  const bool validates = config.data.val_images > 0;
  const auto evaluations =
      static_cast<double>((config.train.epochs + config.train.eval_every - 1) / config.train.eval_every);
  return evaluations * static_cast<double>(validates ? config.data.val_images : size.test) +
         (validates ? 2.0 * static_cast<double>(size.test) : 0);
}

}  // namespace

std::optional<OperatorCost> operator_cost(const Config& config) {
  const auto network = make_run_network(config);
  const Graph& graph = network->graph();
  const auto slot =
      std::find_if(graph.slots.begin(), graph.slots.end(), [](const Slot& s) { return !s.branches.empty(); });
  if (slot == graph.slots.end() || config.model.pool.empty()) return std::nullopt;
  const Node& node = graph.nodes[static_cast<size_t>(slot->branches.front())];
  const Node& before = graph.nodes[static_cast<size_t>(node.inputs.front())];
  Dims shape = network->options().input;
  for (const TracedLayer& layer : network->trace().layers)
    if (layer.name == before.name) shape = layer.output.dims();
  shape[0] = config.train.batch;
  const Json& pool = config.model.pool;
  const Json& own = pool.contains(slot->name) ? pool.at(slot->name) : pool.value("default", Json());
  if (!own.is_object()) return std::nullopt;
  const auto op = make_pool_operator(nlohmann::json(own));

  constexpr int64_t kRepeats = 5;
  const Tensor x = made_up_map(shape, {.dtype = DType::f32, .format = MemoryFormat::channels_last});
  const std::vector<Tensor> parameters = initial_values(*op, shape, DType::f32, 0);
  Tensor y;
  OperatorCost cost;
  cost.forward_seconds = median_seconds(kRepeats, [&] { y = op->forward(x, parameters, {.training = true}); });
  cost.kept_bytes =
      static_cast<double>(measure_kept_bytes(*op, shape, DType::f32).bytes) / static_cast<double>(shape.product());
  const Tensor dy = made_up_map(y.shape(), {.dtype = DType::f32, .format = MemoryFormat::channels_last}, 1);
  std::vector<Tensor> leaves = parameters;
  leaves.push_back(x);
  for (const Tensor& leaf : leaves) leaf.set_requires_grad();
  std::vector<double> backward;
  for (int64_t i = -2; i < kRepeats; ++i) {
    Tape tape;
    Tensor out;
    {
      const Tape::Scope recording(&tape);
      out = op->forward(x, parameters, {.training = true});
    }
    const auto begin = Clock::now();
    tape.backward(out, dy);
    if (i >= 0) backward.push_back(seconds_between(begin, Clock::now()));
    for (const Tensor& leaf : leaves) leaf.set_grad({});
  }
  cost.backward_seconds = median(backward);
  return cost;
}

Json dry_run(const TablePlan& plan, const RootOf& root) {
  std::map<std::string, NetworkCost> costs;
  std::map<std::string, DataSize> sizes;
  struct RowSum {
    int64_t runs = 0, finished = 0, steps = 0;
    double step_seconds = 0, seconds = 0;
  };
  std::map<size_t, RowSum> sums;
  for (const PlannedRun& run : plan.runs) {
    if (!run.selected) continue;
    RowSum& sum = sums[run.row];
    ++sum.runs;
    const Config& config = run.config;
    const std::string data = config.resolved.at("data").dump(), key = cost_key(config);
    if (!sizes.contains(data)) sizes[data] = data_size(config, root(config));
    const int64_t steps = planned_steps(config, sizes[data].train);
    if (!costs.contains(key)) costs[key] = network_cost(config, root(config));
    const NetworkCost& cost = costs[key];
    const auto batch = static_cast<double>(config.train.batch);
    sum.step_seconds = cost.step_seconds * batch;
    if (saved_result(run)) {
      ++sum.finished;
      continue;
    }
    sum.steps += steps;
    sum.seconds += static_cast<double>(steps) * batch * cost.step_seconds +
                   evaluated_images(config, sizes[data]) * cost.evaluation_seconds;
  }
  Json rows = Json::array();
  int64_t runs = 0, finished = 0, steps = 0;
  double seconds = 0;
  for (const auto& [row, sum] : sums) {
    rows.push_back({{"name", plan.rows[row].name},
                    {"runs", sum.runs},
                    {"finished", sum.finished},
                    {"steps", sum.steps},
                    {"step_ms", 1e3 * sum.step_seconds},
                    {"hours", sum.seconds / 3600}});
    runs += sum.runs;
    finished += sum.finished;
    steps += sum.steps;
    seconds += sum.seconds;
  }
  return {{"table", plan.table.name},
          {"title", plan.table.title},
          {"scale", plan.scale.name},
          {"rows", rows},
          {"runs", runs},
          {"finished", finished},
          {"steps", steps},
          {"hours", seconds / 3600},
          {"networks_measured", costs.size()},
          {"threads", cpu_threads()}};
}

std::string dry_run_text(const Json& report) {
  const auto whole = [](const Json& json, const char* key) { return std::to_string(json.at(key).get<int64_t>()); };
  const auto hours = [](const Json& json) { return fmt::format("{:.3g}", json.at("hours").get<double>()); };
  std::vector<std::vector<std::string>> rows;
  for (const Json& row : report.at("rows"))
    rows.push_back({row.at("name").get<std::string>(), whole(row, "runs"), whole(row, "finished"), whole(row, "steps"),
                    fmt::format("{:.1f}", row.at("step_ms").get<double>()), hours(row)});
  return fmt::format("{}, scale {}\n", report.at("title").get<std::string>(), report.at("scale").get<std::string>()) +
         text_table({"row", "runs", "finished", "steps to go", "ms per step", "hours"}, rows) +
         fmt::format(
             "{} rows, {} runs, {} of them finished; {} steps to go, about {} hours with {} threads\n"
             "Hours follow from steps of {} networks, measured now with maps of their first sizes; a learned "
             "size changes them.\n",
             report.at("rows").size(), whole(report, "runs"), whole(report, "finished"), whole(report, "steps"),
             hours(report), whole(report, "threads"), whole(report, "networks_measured"));
}

}  // namespace tidepool
