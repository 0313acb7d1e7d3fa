// Tables: what a file's rows are at a scale, and running them so that an interrupted table resumes.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "layers/pool/operator.h"
#include "train/config.h"
#include "train/run.h"
#include "train/table_file.h"
#include "train/task.h"

namespace tidepool {

/// One row of a table: everything of a config but its seed. In a plan the labels are those of the config that runs:
/// where --set changes what `data`, `model` or `pool` stands for, the label is made again from the config. The name
/// stays: it is the key of --only and of the run's folder.
struct Row {
  std::string name;        ///< "tile-vgg16-dynopool", unique in the table; --only matches it
  std::string title = {};  ///< in a plan: the name, with the labels in which --set contradicts it
  std::vector<std::pair<std::string, std::string>> labels = {};  ///< by column of the grid; without one: {"row", name}
  // Of the grid's columns of that name, else from the config.
  std::string data = {};               ///< "tile"
  std::string model = {};              ///< "vgg16"; with its width where the rows differ in it
  std::string pool = {};               ///< "dynopool"
  double lambda = 0;                   ///< of the GMACs penalty
  std::string baseline = {};           ///< name of the row that it is compared with; "" for a baseline
  std::string base = {};               ///< the config that it starts from
  std::string origin = {};             ///< "mine.json:5:12: ", where the row is written; before errors
  std::string base_origin = {};        ///< likewise of the name of its config
  bool learns_shape = false;           ///< map sizes move while it trains
  std::vector<Setting> settings = {};  ///< of the file, over the scale's
};
/// The rows of a table, in the order of its file. Throws Error where two have one name.
std::vector<Row> table_rows(const TableFile& table);

/// The config with which an operator halves a map: its defaults and a factor of 2. None for one that does not make half
/// the size of 32x32, 16x16, 8x8 and 4x4 with the same channels, and so cannot stand in every slot of a network.
std::optional<Json> halving_config(const PoolDescription& op);

/// One row with one seed.
struct PlannedRun {
  size_t row = 0;  ///< index into TablePlan::rows
  uint64_t seed = 1;
  Config config;
  std::filesystem::path folder;
  bool selected = true;  ///< --only picks it, so that it is run when its result is missing
  int64_t images = 0;    ///< for training, the validation part among them; 0: only the files say
};

/// Counts the training images of a data set where only its files say how many there are; 0: not known.
using CountImages = std::function<int64_t(const DataConfig& data)>;

struct PlanOptions {
  std::string scale = "quick";
  int64_t seeds = 1;  ///< so many, one after the other
  int64_t first_seed = 1;
  std::string only = {};                  ///< globs over row names, joined by commas; "": those of the scale
  std::string data_set = {};              ///< stands in for cifar100 in the table's configs; "": nothing does
  std::vector<std::string> sets = {};     ///< KEY=VALUE of the user, after everything else
  std::filesystem::path out = {};         ///< runs live under out / "runs"
  std::vector<std::string> columns = {};  ///< of the report; none: the file's
  CountImages count = {};                 ///< for the validation part of rows that do not say one; none: without
};

struct TablePlan {
  TableFile table;
  Scale scale;
  PlanOptions options;
  std::vector<Row> rows;             ///< all of the file; runs say which of them the scale or --only selects
  std::vector<PlannedRun> runs;      ///< seed by seed, so that an interrupted table has something in every row
  std::vector<std::string> columns;  ///< of the report, behind the labels; see report_columns.h

  /// One run of each row, those of the first seed.
  std::span<const PlannedRun> first_runs() const { return std::span(runs).first(rows.size()); }
  /// The primary metric of the runs' task.
  const Metric& metric() const { return find_task(runs.front().config.task).primary(); }
};

/// How many rows a table runs at a scale, where --only names none.
size_t rows_at_scale(const TableFile& table, const std::string& scale);

/// Throws Error for an unknown scale, a pattern that picks nothing, an unknown column, a config that does not load,
/// rows of different tasks, and two rows that are one config (before --set).
TablePlan make_plan(const TableFile& table, const PlanOptions& options);

/// The config of a row at a scale, ready to run: the base, the scale, the table's settings for that scale, the row, and
/// `sets`, each over what stands before it.
Config row_config(const TableFile& table, const Row& row, const Scale& scale, const std::string& data_set,
                  uint64_t seed, std::span<const std::string> sets, const CountImages& count = {});

/// Steps of a whole run, with `images` training images where the config says none.
int64_t planned_steps(const Config& config, int64_t images);

/// The result that a run's folder holds; none when it is missing or incomplete. Throws Error naming the folder and the
/// key when it holds a run of another config, or files that are not a run's.
std::optional<RunResult> saved_result(const PlannedRun& run);

/// Whether two finished runs with the same seed computed the same function: their resolved configs are equal, or they
/// end with the same map sizes, test loss and metrics and, in last.safetensors, with the same bits in every weight
/// that both have. Equal metrics alone are chance; without the weights' files the answer is false.
bool same_function(const PlannedRun& a, const RunResult& of_a, const PlannedRun& b, const RunResult& of_b);

/// What became of a planned run.
struct RunOutcome {
  std::optional<RunResult> result;
  bool read = false;    ///< the result was there already
  std::string failure;  ///< why there is none; "" when it was not run or was stopped
};

/// Trains one run: train_run, a process of its own, or a test's stand-in. Throws Failure when this run failed, Error
/// when the request is wrong, which ends the table.
using Runner = std::function<RunResult(const PlannedRun& run, const RunOptions& options)>;

struct ExecuteOptions {
  Runner run;
  int jobs = 1;  ///< runs at a time; `run` is called from so many threads
  std::filesystem::path data_root = {};
  Json provenance = Json::object();
  /// Asked often, from any thread; true: every run ends after its step.
  std::function<bool()> stop = {};
  // Called one at a time, from any thread, with the index into TablePlan::runs.
  std::function<void(size_t)> started = {};
  std::function<void(size_t, const RunProgress&)> progress = {};
  /// After each run, whatever became of it; with all outcomes so far.
  std::function<void(size_t, const std::vector<RunOutcome>&)> ended = {};
};

/// Reads finished runs, then runs what is missing and selected, resuming interrupted runs. A run that fails leaves its
/// outcome, and the others go on. Nothing runs when a folder holds another run (Error).
std::vector<RunOutcome> execute(const TablePlan& plan, const ExecuteOptions& options);

}  // namespace tidepool
