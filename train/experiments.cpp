#include "train/experiments.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/error.h"
#include "core/safetensors.h"
#include "data/dataset.h"
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

// "max (kernel 3)": an operator's object of a config, with the keys whose values are not those of `usual`.
std::string operator_text(const Json& config, const Json& usual) {
  if (!config.is_object() || !config.contains("type")) return config.is_null() ? "none" : brief_json(config);
  std::string keys;
  for (const auto& [key, value] : config.items())
    if (key != "type" && !(usual.contains(key) && usual.at(key) == value))
      keys += fmt::format("{}{} {}", keys.empty() ? "" : ", ", key, value.dump());
  const Json& type = config.at("type");
  const std::string name = type.is_string() ? type.get<std::string>() : brief_json(type);
  return keys.empty() ? name : fmt::format("{} ({})", name, keys);
}

// The operators of model.pool: that of every place, then those of single places that have another.
std::string pool_text(const Json& pool, const std::function<std::string(const Json&)>& text_of) {
  if (pool.empty()) return "as published";
  std::string text;
  if (pool.contains("default")) text = text_of(pool.at("default"));
  for (const auto& [place, config] : pool.items())
    if (place != "default" && !(pool.contains("default") && pool.at("default") == config))
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", place, text_of(config));
  return text;
}

// As a column shows it: the keys with which the operator halves a map go without saying.
std::string pool_label(const Json& pool) {
  return pool_text(pool, [](const Json& config) {
    std::optional<Json> usual;
    if (config.is_object())
      for (const PoolDescription* op : pool_operators())
        if (config.value("type", Json()) == op->name) usual = halving_config(*op);
    return operator_text(config, usual.value_or(Json::object()));
  });
}

std::string data_label(const VariantOptions& variant) {
  const VariantOptions usual;
  if (variant.type == "none") return "plain";
  if (variant.type == "tile" && variant.grid != usual.grid) return fmt::format("tile (grid {})", variant.grid);
  if (variant.type == "large" && variant.size != usual.size) return fmt::format("large (size {})", variant.size);
  if (variant.type.starts_with("stretch") && variant.factor != usual.factor)
    return fmt::format("{} (factor {:g})", variant.type, variant.factor);
  return variant.type;
}

// The network's name, with the keys of its section that --set changed. The pool has a column of its own; the width is
// in the caption, and here where rows differ in it.
std::string model_label(const Json& model, const Json& planned) {
  std::string keys;
  for (const auto& [key, value] : model.items())
    if (key != "name" && key != "pool" && key != "width" && !(planned.contains(key) && planned.at(key) == value))
      keys += fmt::format("{}{} {}", keys.empty() ? "" : ", ", key, value.dump());
  const std::string name = model.at("name").get<std::string>();
  return keys.empty() ? name : fmt::format("{} ({})", name, keys);
}

bool learns_shape(const Json& pool) {
  return std::any_of(pool.begin(), pool.end(), [](const Json& config) {
    try {
      const auto parameters = make_pool_operator(nlohmann::json(config))->parameters({1, 8, 32, 32});
      return std::any_of(parameters.begin(), parameters.end(),
                         [](const ParameterSpec& spec) { return spec.kind == ParameterKind::shape; });
    } catch (const Error&) {
      return false;  // building the network says what is wrong
    }
  });
}

// The labels of a row from the config that runs. `planned` is the same without --set: what its labels stand for.
void label_row(Row& row, const Config& config, const Config& planned) {
  const auto differ = [](Json a, Json b, std::initializer_list<const char*> but_for = {}) {
    for (const char* key : but_for) {
      a.erase(key);
      b.erase(key);
    }
    return nlohmann::json(a) != nlohmann::json(b);  // whatever the order of the keys
  };
  const Json &model = config.resolved.at("model"), &before = planned.resolved.at("model");
  std::vector<std::string> changed;
  if (differ(config.resolved.at("data").at("variant"), planned.resolved.at("data").at("variant")))
    changed.push_back(row.data = data_label(config.data.variant));
  if (differ(model, before, {"pool", "width"})) changed.push_back(row.model = model_label(model, before));
  if (differ(model.at("pool"), before.at("pool"))) {
    changed.push_back(row.pool = pool_label(model.at("pool")));
    row.learns_shape = learns_shape(model.at("pool"));
  }
  row.lambda = config.loss.gmacs_lambda;
  if (row.lambda != planned.loss.gmacs_lambda) changed.push_back(fmt::format("lambda {:g}", row.lambda));
  row.title = changed.empty() ? row.name : fmt::format("{} ({})", row.name, fmt::join(changed, ", "));
}

std::vector<std::pair<std::string, std::string>> pooling_caption(std::span<const Config* const> shown) {
  std::vector<std::string> operators, left_out;
  bool everywhere = true;
  for (const Config* config : shown) {
    const Json& pool = config->model.pool;
    everywhere = everywhere && pool.size() == 1 && pool.contains("default");
    const std::string text = pool_text(pool, [](const Json& op) { return operator_text(op, Json::object()); });
    if (std::find(operators.begin(), operators.end(), text) == operators.end()) operators.push_back(text);
  }
  for (const PoolDescription* op : pool_operators())
    if (!halving_config(*op)) left_out.push_back(op->name);
  std::vector<std::pair<std::string, std::string>> all{
      {"Operators", fmt::format("{}at its defaults but for: {}", everywhere ? "the same one in all places, " : "",
                                fmt::join(operators, ", "))}};
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

namespace {

// As many as a table's row keeps for choosing the best epoch: 5,000 of 50,000, else a tenth.
int64_t validation_images(const DataConfig& data) {
  return data.train_images.value_or(find_dataset(data.name).train_images) / 10;
}

}  // namespace

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
  const std::string text = fmt::format(R"({{"extends": "{}"}})", row.base);
  if (!load_config_text(text, row.name).optim.groups.empty()) {  // the first one is the shape parameters'
    all.push_back(fmt::format("optim.groups.0.lr={}", scale.shape_lr));
    all.push_back(fmt::format("optim.groups.0.first_epoch={}", scale.shape_first_epoch));
  }
  all.insert(all.end(), row.sets.begin(), row.sets.end());
  all.insert(all.end(), sets.begin(), sets.end());
  const Config config = load_config_text(text, row.name, all);
  // Before all others: a row or --set that says their number wins.
  all.insert(all.begin(), fmt::format("data.val_images={}", validation_images(config.data)));
  return load_config_text(text, row.name, all);
}

int64_t planned_steps(const Config& config, int64_t images) {
  images = config.data.train_images.value_or(images) - config.data.val_images;
  const int64_t batch = config.train.batch;
  // No overflow: the keys hold images, batch and epochs below 2^31 each.
  const int64_t steps = (images / batch + (config.data.drop_last || images % batch == 0 ? 0 : 1)) * config.train.epochs;
  return std::min(steps, config.train.max_steps.value_or(steps));
}

TablePlan make_plan(const std::string& table, const PlanOptions& options) {
  TablePlan plan{
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
  for (const PlannedRun& run : plan.runs)
    if (run.config.task != plan.runs.front().config.task)
      throw Error("a table compares one metric: {} has the task {}, and {} has {}", plan.rows.front().name,
                  plan.runs.front().config.task, plan.rows[run.row].name, run.config.task);
  // The runs of the first seed are those of the rows, in their order; another seed changes no label.
  const std::vector<Row> planned = plan.rows;
  for (size_t i = 0; i < plan.rows.size(); ++i)
    label_row(plan.rows[i], plan.runs[i].config,
              options.sets.empty() ? plan.runs[i].config
                                   : row_config(planned[i], plan.scale, options.data_set, plan.runs[i].seed, {}));
  const bool one_width = std::all_of(plan.runs.begin(), plan.runs.end(), [&](const PlannedRun& run) {
    return run.config.model.width == plan.runs.front().config.model.width;
  });
  for (size_t i = 0; i < plan.rows.size() && !one_width; ++i)
    plan.rows[i].model += fmt::format(", width {:g}", plan.runs[i].config.model.width);
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
    return RunResult::from_json(read_json(result), find_task(run.config.task));
  } catch (const Json::exception& error) {
    throw Error("{}: expected the result of a run: {}", result.string(), error.what());
  }
}

bool same_function(const PlannedRun& a, const RunResult& of_a, const PlannedRun& b, const RunResult& of_b) {
  if (config_difference(a.config.resolved, b.config.resolved, "config").empty()) return true;
  if (!of_a.loss_last || of_a.loss_last != of_b.loss_last || of_a.metric_last() != of_b.metric_last() ||
      of_a.best != of_b.best || of_a.steps != of_b.steps || of_a.shapes != of_b.shapes)
    return false;
  const auto weights = [](const PlannedRun& run) {
    auto tensors = read_safetensors(run.folder / "last.safetensors").tensors;
    std::erase_if(tensors, [](const auto& named) { return named.first.starts_with("state/"); });
    return tensors;
  };
  for (const PlannedRun* run : {&a, &b})
    if (!fs::exists(run->folder / "last.safetensors")) return false;
  try {
    const auto x = weights(a), y = weights(b);
    size_t common = 0;
    for (const auto& [name, tensor] : x) {
      const auto other = y.find(name);
      if (other == y.end()) continue;
      ++common;
      if (tensor.shape() != other->second.shape() || tensor.dtype() != other->second.dtype() ||
          std::memcmp(tensor.raw(), other->second.raw(), tensor.storage().bytes) != 0)
        return false;
    }
    return common > 0;
  } catch (const Error&) {
    return false;  // not a checkpoint any more
  }
}

std::vector<RunOutcome> execute(const TablePlan& plan, const ExecuteOptions& options) {
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
