#include "train/experiments.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/error.h"
#include "core/find_named.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "train/report_columns.h"
#include "train/row_labels.h"
#include "train/same_run.h"

namespace tidepool {
namespace fs = std::filesystem;
namespace {

// Lays what an entry says over a row.
void add_entry(const TableFile& table, const TableEntry& entry, Row& row) {
  row.origin = entry.origin + ": ";
  if (!entry.base.empty()) {
    if (row.base != table.base)
      throw Error("{}: extends: the row has another extends already, {}", entry.base_origin, brief_json(row.base));
    row.base = entry.base;
    row.base_origin = entry.base_origin + ": extends: ";
  }
  row.settings.insert(row.settings.end(), entry.settings.begin(), entry.settings.end());
}

std::string joined(const std::vector<std::pair<std::string, std::string>>& labels) {
  std::string name;
  for (const auto& [column, label] : labels) name += (name.empty() ? "" : "-") + label;
  return name;
}

// The name of the row that `row` is compared with; "" for a baseline.
std::string baseline_of(const TableFile& table, const Row& row) {
  std::string name;
  if (table.grid.empty()) {
    for (const auto& [pattern, baseline] : table.baseline)
      if (name.empty() && matches_any(pattern, row.name)) name = baseline;
  } else if (!table.baseline.empty()) {
    auto labels = row.labels;
    for (const auto& [column, label] : table.baseline)
      for (auto& own : labels)
        if (own.first == column) own.second = label;
    name = joined(labels);
  }
  return name == row.name ? "" : name;
}

// The validation part among them; 0: only the files say, and nobody counts them.
int64_t training_images(const DataConfig& data, const CountImages& count) {
  if (data.train_images) return *data.train_images;
  const int64_t known = find_dataset(data.name).train_images;
  return known > 0 || !count ? known : count(data);
}

// Whether one of the row's settings decides `key`: its own, or that of an object around it.
bool decides(const Row& row, const std::string& key) {
  return std::any_of(row.settings.begin(), row.settings.end(),
                     [&](const Setting& own) { return key == own.key || key.starts_with(own.key + "."); });
}

void set_seed(Config& config, const Row& row, uint64_t seed) {
  config.resolved["name"] = config.name = fmt::format("{}-seed{}", row.name, seed);
  config.resolved["train"]["seed"] = config.train.seed = seed;
}

// Two rows that are one config would compare a network with itself.
void expect_distinct(const std::vector<Row>& rows, const std::vector<Config>& configs,
                     const std::vector<bool>& selected) {
  std::map<std::string, size_t> seen;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!selected[i]) continue;
    nlohmann::json config = configs[i].resolved;  // keys in one order
    config.erase("name");
    config["model"]["pool"] = canonical_pool(configs[i].model.pool);
    const auto [first, fresh] = seen.emplace(config.dump(), i);
    if (!fresh)
      throw Error("{}the rows {} and {} are the same config", rows[i].origin, rows[first->second].name, rows[i].name);
  }
}

// Which rows a call runs: those that --only names, else those of the scale.
std::vector<bool> selected_rows(const TableFile& table, const PlanOptions& options, const std::vector<Row>& rows) {
  const std::vector<std::string> names = names_of(rows);
  const auto expect_match = [&](const std::string& patterns, const std::string& said_by) {
    if (std::none_of(names.begin(), names.end(), [&](const std::string& n) { return matches_any(patterns, n); }))
      throw Error("{} '{}' matches no row{}; the rows are {}", said_by, patterns, did_you_mean(patterns, names),
                  fmt::join(names, ", "));
  };
  for (const auto& [name, scale] : table.scales)
    for (const auto& [key, patterns] : {std::pair("only", scale.only), std::pair("except", scale.except)})
      if (const std::string path = fmt::format("scales.{}.{}", name, key); !patterns.empty())
        expect_match(patterns, table.place(path) + path + ":");
  for (size_t i = 0; i < table.published.size(); ++i)
    if (const std::string path = fmt::format("published.{}.rows", i); !table.published[i].rows.empty())
      expect_match(table.published[i].rows, table.place(path) + path + ":");
  if (!options.only.empty()) expect_match(options.only, "--only");
  const auto scale = table.scales.find(options.scale);
  std::vector<bool> selected;
  for (const std::string& name : names) {
    bool in = true;
    if (!options.only.empty())
      in = matches_any(options.only, name);
    else if (scale != table.scales.end())
      in = (scale->second.only.empty() || matches_any(scale->second.only, name)) &&
           !matches_any(scale->second.except, name);
    selected.push_back(in);
  }
  if (std::find(selected.begin(), selected.end(), true) == selected.end())
    throw Error("{}scales.{}: leaves no row to run", table.place("scales." + options.scale), options.scale);
  return selected;
}

}  // namespace

std::vector<Row> table_rows(const TableFile& table) {
  const std::string base_origin = table.place("base") + "base: ";
  std::vector<Row> rows;
  if (table.grid.empty()) {
    for (const TableEntry& entry : table.rows) {
      Row row{.name = entry.label, .labels = {{"row", entry.label}}, .base = table.base, .base_origin = base_origin};
      add_entry(table, entry, row);
      rows.push_back(std::move(row));
    }
  } else {
    Row first;
    first.base = table.base;
    first.base_origin = base_origin;
    rows.push_back(std::move(first));
    for (const GridColumn& column : table.grid) {
      std::vector<Row> more;
      for (const Row& row : rows)
        for (const TableEntry& entry : column.entries) {
          more.push_back(row);
          more.back().labels.emplace_back(column.name, entry.label);
          add_entry(table, entry, more.back());
        }
      rows = std::move(more);
    }
  }
  std::map<std::string, const Row*> names;
  for (Row& row : rows) {
    row.name = joined(row.labels);
    if (!names.emplace(row.name, &row).second)
      throw Error("{}two rows have the name {}, their labels joined", row.origin, row.name);
    for (const auto& [column, label] : row.labels) {
      if (column == "data") row.data = label;
      if (column == "model") row.model = label;
      if (column == "pool") row.pool = label;
    }
  }
  for (Row& row : rows) row.baseline = baseline_of(table, row);
  return rows;
}

Config row_config(const TableFile& table, const Row& row, const Scale& scale, const std::string& data_set,
                  uint64_t seed, std::span<const std::string> sets, const CountImages& count) {
  const std::string origin = "the table";
  std::vector<Setting> all;
  const auto add_scale = [&](const std::vector<Setting>& settings) {
    for (const Setting& setting : settings)
      if (!decides(row, setting.key)) all.push_back(setting);
  };
  add_scale(scale.settings);
  if (const auto own = table.scales.find(scale.name); own != table.scales.end()) add_scale(own->second.settings);
  all.insert(all.end(), row.settings.begin(), row.settings.end());
  const auto load = [&] { return load_config_with(row.base, table.folder, row.base_origin, all, sets); };
  Config config = load();
  if (!data_set.empty() && data_set != config.data.name && config.data.name == "cifar100") {
    all.push_back({.key = "data.name", .value = data_set, .origin = origin});
    config = load();
  }
  const auto says_validation = [](const std::string& key) { return key == "data.val_images" || key == "data"; };
  const bool said = config.data.val_images > 0 ||
                    std::any_of(all.begin(), all.end(), [&](const Setting& s) { return says_validation(s.key); }) ||
                    std::any_of(sets.begin(), sets.end(),
                                [&](const std::string& s) { return says_validation(s.substr(0, s.find('='))); });
  // To choose the best epoch on: 5,000 of 50,000, else a tenth.
  if (!said) config.resolved["data"]["val_images"] = config.data.val_images = training_images(config.data, count) / 10;
  set_seed(config, row, seed);
  return config;
}

int64_t planned_steps(const Config& config, int64_t images) {
  images = config.data.train_images.value_or(images) - config.data.val_images;
  const int64_t batch = config.train.batch;
  // No overflow: the keys hold images, batch and epochs below 2^31 each.
  const int64_t steps = (images / batch + (config.data.drop_last || images % batch == 0 ? 0 : 1)) * config.train.epochs;
  return std::min(steps, config.train.max_steps.value_or(steps));
}

size_t rows_at_scale(const TableFile& table, const std::string& scale) {
  const std::vector<bool> selected = selected_rows(table, {.scale = scale, .sets = {}}, table_rows(table));
  return static_cast<size_t>(std::count(selected.begin(), selected.end(), true));
}

TablePlan make_plan(const TableFile& table, const PlanOptions& options) {
  for (const std::string& set : options.sets)
    for (const char* own : {"name", "train.seed"})
      if (set.substr(0, set.find('=')) == own)
        throw Error("--set {}: a table names its runs and gives them their seeds; --seeds and --first-seed say which",
                    set);
  TablePlan plan{.table = table,
                 .scale = find_scale(options.scale),
                 .options = options,
                 .rows = table_rows(table),
                 .runs = {},
                 .columns = {}};
  const std::vector<bool> selected = selected_rows(table, options, plan.rows);
  const auto configs_of = [&](std::span<const std::string> sets) {
    std::vector<Config> configs;
    for (const Row& row : plan.rows)
      configs.push_back(row_config(table, row, plan.scale, options.data_set, 1, sets, options.count));
    return configs;
  };
  const std::vector<Config> planned = configs_of({});  // without --set
  expect_distinct(plan.rows, planned, selected);
  const std::vector<Config> configs = options.sets.empty() ? planned : configs_of(options.sets);
  for (int64_t seed = options.first_seed; seed < options.first_seed + options.seeds; ++seed)
    for (size_t i = 0; i < plan.rows.size(); ++i) {
      const auto unsigned_seed = static_cast<uint64_t>(seed);
      plan.runs.push_back({.row = i,
                           .seed = unsigned_seed,
                           .config = configs[i],
                           .folder = options.out / "runs" / fmt::format("{}-seed{}", plan.rows[i].name, seed),
                           .selected = selected[i],
                           .images = training_images(configs[i].data, options.count)});
      set_seed(plan.runs.back().config, plan.rows[i], unsigned_seed);
    }
  for (const PlannedRun& run : plan.runs)
    if (run.config.task != plan.runs.front().config.task)
      throw Error("{}a table compares one metric: {} has the task {}, and {} has {}", plan.rows[run.row].origin,
                  plan.rows.front().name, plan.runs.front().config.task, plan.rows[run.row].name, run.config.task);
  // The runs of the first seed are those of the rows, in their order; another seed changes no label.
  for (size_t i = 0; i < plan.rows.size(); ++i) label_row(plan.rows[i], plan.runs[i].config, planned[i]);
  const bool one_width = std::all_of(plan.runs.begin(), plan.runs.end(), [&](const PlannedRun& run) {
    return run.config.model.width == plan.runs.front().config.model.width;
  });
  for (size_t i = 0; i < plan.rows.size() && !one_width; ++i)
    plan.rows[i].model += fmt::format(", width {:g}", plan.runs[i].config.model.width);
  plan.columns = checked_columns(plan, find_task(planned.front().task).primary());
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
      try {
        if (options.ended) options.ended(i, outcomes);
      } catch (...) {  // the table cannot be written
        if (!error) error = std::current_exception();
        wrong = true;
        return;
      }
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
