#include "train/experiments.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/error.h"
#include "layers/pool/prepared.h"
#include "train/optimizer.h"
#include "train/same_run.h"

namespace tidepool {
namespace fs = std::filesystem;
namespace {

// Table 1: human-designed pooling against DynOPool.
std::vector<Row> table1_rows(const Scale& scale) {
  struct DataRow {
    const char *name, *variant;
  };
  struct ModelRow {
    const char *name, *fixed, *learned;  // the configs with human-designed and with learned shapes
  };
  struct PoolRow {
    const char *name, *pool;
    bool learned;
  };
  static constexpr DataRow kData[] = {
      {"plain", R"({"type": "none"})"},
      {"stretch_v", R"({"type": "stretch_v", "factor": 2})"},
      {"tile", R"({"type": "tile", "grid": 4})"},
      {"large", R"({"type": "large", "size": 8})"},
  };
  static constexpr ModelRow kModels[] = {
      {"vgg16", "cifar100_vgg16.json", "cifar100_vgg16_dynopool.json"},
  };
  static constexpr PoolRow kPools[] = {
      {"max", R"({"type": "max", "kernel": 2})", false},
      {"soft", R"({"type": "soft", "kernel": 2})", false},
      {"dynopool", R"({"type": "dynopool", "r": 0.5})", true},
  };
  // The penalty weighs GMACs, of which a narrow network has about width^2 as many: so that it pulls as hard beside the
  // cross-entropy as 0.1 does in the whole network, lambda grows by as much.
  const double lambda = 0.1 / (scale.width * scale.width);

  std::vector<Row> rows;
  for (const ModelRow& model : kModels)
    for (const DataRow& data : kData) {
      const std::string stem = fmt::format("{}-{}-", data.name, model.name);
      for (const PoolRow& pool : kPools) {
        Row row{.name = stem + pool.name,
                .data = data.name,
                .model = model.name,
                .pool = pool.name,
                .lambda = 0,
                .baseline = &pool == kPools ? "" : stem + kPools[0].name,
                .base = pool.learned ? model.learned : model.fixed,
                .learns_shape = pool.learned,
                .sets = {fmt::format("data.variant={}", data.variant),
                         fmt::format(R"(model.pool={{"default": {}}})", pool.pool)}};
        rows.push_back(row);
        if (!pool.learned || !scale.penalty) continue;
        row.name += "-gmacs";
        row.lambda = lambda;
        row.sets.push_back(fmt::format("loss.gmacs_lambda={}", lambda));
        rows.push_back(std::move(row));
      }
    }
  return rows;
}

// The pooling table: every operator of the registry that can stand in every place of the network.
std::vector<Row> pooling_rows(const Scale& scale) {
  const std::string stem = "vgg16-", baseline = "max";
  std::vector<Row> rows;
  for (const PoolDescription* op : pool_operators()) {
    const std::optional<Json> config = halving_config(*op);
    if (!config) continue;
    Row row{.name = stem + op->name,
            .data = "plain",
            .model = "vgg16",
            .pool = op->name,
            .baseline = op->name == baseline ? "" : stem + baseline,
            .base = "cifar100_vgg16.json",
            .sets = {fmt::format(R"(model.pool={{"default": {}}})", config->dump())}};
    Json groups = Json::array();  // shape parameters move at a rate of their own
    for (const ParameterSpec& spec : make_pool_operator(nlohmann::json(*config))->parameters({1, 8, 32, 32}))
      if (spec.kind == ParameterKind::shape)
        groups.push_back({{"match", "*." + spec.name},
                          {"lr", scale.shape_lr},
                          {"weight_decay", 0},
                          {"first_epoch", scale.shape_first_epoch}});
    row.learns_shape = !groups.empty();
    if (row.learns_shape) row.sets.push_back("optim.groups=" + groups.dump());
    rows.push_back(std::move(row));
  }
  std::stable_partition(rows.begin(), rows.end(), [](const Row& row) { return row.baseline.empty(); });
  return rows;
}

std::vector<std::pair<std::string, std::string>> pooling_caption() {
  std::vector<std::string> keys, left_out;
  for (const PoolDescription* op : pool_operators()) {
    const std::optional<Json> config = halving_config(*op);
    if (!config) {
      left_out.push_back(op->name);
      continue;
    }
    std::string own;
    for (const auto& [key, value] : config->items())
      if (key != "type") own += fmt::format("{}{} {}", own.empty() ? "" : ", ", key, value.dump());
    keys.push_back(own.empty() ? op->name : fmt::format("{} ({})", op->name, own));
  }
  std::vector<std::pair<std::string, std::string>> all{
      {"Operators",
       fmt::format("the same one in all four places, at its defaults but for: {}", fmt::join(keys, ", "))}};
  if (!left_out.empty())
    all.emplace_back("Left out", fmt::format("{}: at their defaults they do not halve a map of every size",
                                             fmt::join(left_out, ", ")));
  return all;
}

}  // namespace

// The rate of the shape parameters: their gradient is a small mean in large noise (quarter-width VGG-16, CIFAR-100,
// plain, first place: mean up to 0.01, standard deviation about 0.06 a step), so that a rate for short runs must move
// the shapes by their mean and not by the noise. With 0.4 / sqrt(steps in which they move), momentum 0.9 and a cosine
// the noise alone walks alpha by some 0.15 (a map of 16 by one pixel) at every scale; the recipe's 0.001 follows from
// it within a third.
const std::vector<Scale>& scales() {
  static const std::vector<Scale> all{
      {.name = "smoke",
       .width = 0.125,
       .train_images = 1000,
       .test_images = 500,
       .epochs = 1,
       .batch = 32,
       .warmup_epochs = 0.25,
       .shape_lr = 0.05,
       .shape_first_epoch = 0,
       .penalty = false},
      {.name = "quick",
       .width = 0.25,
       .train_images = 5000,
       .test_images = 2000,
       .epochs = 6,
       .batch = 64,  // as many images, twice as many steps
       .warmup_epochs = 0.5,
       .shape_lr = 0.02,
       .shape_first_epoch = 1,
       .penalty = false},
      {.name = "toy",
       .width = 0.25,
       .train_images = 10000,
       .epochs = 12,
       .batch = 64,
       .shape_lr = 0.01,
       .shape_first_epoch = 1},
      {.name = "small", .width = 0.5, .epochs = 30, .shape_lr = 0.004, .shape_first_epoch = 2},
      {.name = "full"},
  };
  return all;
}

const Scale& find_scale(const std::string& name) {
  std::vector<std::string> names;
  for (const Scale& scale : scales()) {
    if (scale.name == name) return scale;
    names.push_back(scale.name);
  }
  throw Error("unknown scale '{}': expected one of {}{}", name, fmt::join(names, ", "), did_you_mean(name, names));
}

const std::vector<Table>& tables() {
  static const std::vector<Table> all{
      {.name = "1",
       .heading = "Table 1",
       .title = "Human-designed pooling against DynOPool",
       .file = "table1",
       .rows = table1_rows},
      {.name = "pooling",
       .heading = "Pooling table",
       .title = "Every pooling operator in one network",
       .file = "pooling",
       .rows = pooling_rows,
       .fidelity = true,
       .caption = pooling_caption},
  };
  return all;
}

const Table& find_table(const std::string& name) {
  std::vector<std::string> names;
  for (const Table& table : tables()) {
    if (table.name == name) return table;
    names.push_back(table.name);
  }
  throw Error("there is no table {}; there is: {}{}", name, fmt::join(names, ", "), did_you_mean(name, names));
}

std::optional<Json> halving_config(const PoolDescription& op) {
  constexpr int64_t kChannels = 8;
  const nlohmann::json config = config_for_factor(op, 2, {1, kChannels, 32, 32});
  try {
    const auto made = make_pool_operator(config);
    for (const int64_t length : {32, 16, 8, 4}) {
      const Dims x{1, kChannels, length, length}, half{1, kChannels, length / 2, length / 2};
      if (made->output_shape(x, start_values(*made, x, DType::f32, 0)) != half) return std::nullopt;
    }
  } catch (const Error&) {
    return std::nullopt;
  }
  Json ordered{{"type", op.name}};
  ordered.update(config);
  return ordered;
}

Config row_config(const Row& row, const Scale& scale, const std::string& data_set, uint64_t seed,
                  std::span<const std::string> sets) {
  const auto images = [](const std::optional<int64_t>& n) { return n ? std::to_string(*n) : std::string("null"); };
  std::vector<std::string> all{
      fmt::format("name=\"{}-seed{}\"", row.name, seed),
      fmt::format("data.name={}", data_set),
      fmt::format("data.train_images={}", images(scale.train_images)),
      fmt::format("data.test_images={}", images(scale.test_images)),
      fmt::format("model.width={}", scale.width),
      fmt::format("optim.lr={}", scale.lr),
      fmt::format("optim.schedule.warmup_epochs={}", scale.warmup_epochs),
      fmt::format("train.epochs={}", scale.epochs),
      fmt::format("train.batch={}", scale.batch),
      fmt::format("train.seed={}", seed),
  };
  const Json base = parse_json(embedded_config(row.base).value_or("{}"), row.base);
  if (base.contains("optim") && base["optim"].contains("groups")) {  // the first one is the shape parameters'
    all.push_back(fmt::format("optim.groups.0.lr={}", scale.shape_lr));
    all.push_back(fmt::format("optim.groups.0.first_epoch={}", scale.shape_first_epoch));
  }
  all.insert(all.end(), row.sets.begin(), row.sets.end());
  all.insert(all.end(), sets.begin(), sets.end());
  return load_config_text(fmt::format(R"({{"extends": "{}"}})", row.base), row.name, all);
}

int64_t planned_steps(const Config& config, int64_t images) {
  images = config.data.train_images.value_or(images);
  const int64_t steps = (images + config.train.batch - 1) / config.train.batch * config.train.epochs;
  return std::min(steps, config.train.max_steps.value_or(steps));
}

Plan make_plan(const std::string& table, const PlanOptions& options) {
  Plan plan{
      .table = &find_table(table), .scale = find_scale(options.scale), .options = options, .rows = {}, .runs = {}};
  plan.rows = plan.table->rows(plan.scale);
  std::vector<std::string> names;
  std::vector<bool> selected;
  for (const Row& row : plan.rows) {
    names.push_back(row.name);
    selected.push_back(options.only.empty() || glob_match(options.only, row.name));
  }
  if (std::find(selected.begin(), selected.end(), true) == selected.end())
    throw Error("--only '{}' matches no row{}; the rows are {}", options.only, did_you_mean(options.only, names),
                fmt::join(names, ", "));
  for (int64_t seed = 1; seed <= options.seeds; ++seed)
    for (size_t i = 0; i < plan.rows.size(); ++i) {
      const auto unsigned_seed = static_cast<uint64_t>(seed);
      plan.runs.push_back(
          {.row = i,
           .seed = unsigned_seed,
           .config = row_config(plan.rows[i], plan.scale, options.data_set, unsigned_seed, options.sets),
           .folder = options.out / "runs" / fmt::format("{}-seed{}", plan.rows[i].name, seed),
           .selected = selected[i]});
    }
  return plan;
}

std::optional<RunResult> saved_result(const PlannedRun& run) {
  const fs::path config = run.folder / "config.json", result = run.folder / "result.json";
  if (!fs::exists(config)) return std::nullopt;
  if (const std::string differs = config_difference(read_json(config), run.config.resolved, config.string());
      !differs.empty())
    throw Error("{}: holds a run with another config ({}); another --out keeps both", run.folder.string(), differs);
  if (!fs::exists(result)) return std::nullopt;
  try {
    return RunResult::from_json(read_json(result));
  } catch (const Json::exception& error) {
    throw Error("{}: expected the result of a run: {}", result.string(), error.what());
  }
}

std::vector<RunOutcome> execute(const Plan& plan, const ExecuteOptions& options) {
  std::vector<RunOutcome> outcomes(plan.runs.size());
  std::vector<size_t> missing;
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const PlannedRun& run = plan.runs[i];
    try {
      outcomes[i].result = saved_result(run);
    } catch (const Error&) {
      if (run.selected) throw;  // what is neither run nor shown may be anything
    }
    outcomes[i].read = outcomes[i].result.has_value();
    if (!outcomes[i].result && run.selected) missing.push_back(i);
  }

  std::mutex mutex;  // of everything below, and of the callbacks
  size_t next = 0;
  std::exception_ptr error;
  std::atomic<bool> wrong{false};  // an Error of one run ends the others
  const auto stop = [&] { return wrong || (options.stop && options.stop()); };

  const auto work = [&] {
    while (true) {
      size_t i = 0;
      {
        const std::lock_guard lock(mutex);
        if (stop() || next == missing.size()) return;
        i = missing[next++];
        if (options.started) options.started(i);
      }
      const PlannedRun& run = plan.runs[i];
      RunOutcome outcome;
      std::exception_ptr failed;
      try {
        RunOptions run_options;
        run_options.out = run.folder;
        run_options.data_root = options.data_root;
        run_options.resume = fs::exists(run.folder / "config.json");
        run_options.provenance = options.provenance;
        run_options.stop = stop;
        run_options.progress = [&](const RunProgress& progress) {
          const std::lock_guard lock(mutex);
          if (options.progress) options.progress(i, progress);
        };
        RunResult result = options.run(run, run_options);
        if (result.finished) outcome.result = std::move(result);
      } catch (const Error& request) {
        failed = std::make_exception_ptr(Error("{}: {}", plan.rows[run.row].name, request.what()));
      } catch (const std::exception& failure) {
        outcome.failure = failure.what();
      }
      const std::lock_guard lock(mutex);
      if (failed) {
        if (!error) error = failed;
        wrong = true;
        return;
      }
      outcomes[i] = std::move(outcome);
      if (options.ended) options.ended(i, outcomes);
    }
  };
  if (options.jobs <= 1) {
    work();
  } else {
    std::vector<std::jthread> threads;
    for (size_t j = 0; j < std::min(static_cast<size_t>(options.jobs), missing.size()); ++j) threads.emplace_back(work);
  }
  if (error) std::rethrow_exception(error);
  return outcomes;
}

}  // namespace tidepool
