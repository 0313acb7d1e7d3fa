// What a run directory says of a run that is to be drawn: its config, its logs and its result. Reads only.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "train/task.h"

namespace tidepool::figures {

namespace fs = std::filesystem;

/// One training step of log.jsonl.
struct LoggedStep {
  int64_t step = 0, epoch = 0;  ///< from 1; from 0
  double loss = 0, task_loss = 0, gmacs_loss = 0, lr = 0;
};

/// One evaluation of log.jsonl: "val_top1", "test_loss" and so on.
struct LoggedEvaluation {
  int64_t step = 0;
  std::map<std::string, double> values;
};

/// The path of one number of shapes.csv: element `index` of a shape parameter ("pool1.alpha") or of the size of the map
/// after a slot ("pool1.size": 0 height, 1 width).
struct ShapePath {
  std::string name;
  int64_t index = 0;
  std::vector<std::pair<int64_t, double>> points;  ///< (step, value), in order
};

struct RunRecord {
  fs::path folder;
  Json config;                 ///< config.json, with the defaults of keys that it lacks
  std::optional<Json> result;  ///< result.json; none: the run has not ended
  uint64_t seed = 1;
  const TaskDescription* task = nullptr;
  std::vector<LoggedStep> steps = {};
  std::vector<LoggedEvaluation> evaluations = {};
  std::vector<ShapePath> shapes = {};

  /// Steps of one epoch, as far as the log or the config says; none where neither does.
  std::optional<int64_t> steps_per_epoch() const;
  /// A number of result.json; none where it has none of that name.
  std::optional<double> result_number(const std::string& key) const;
};

/// Runs that differ in their seed alone: one row.
struct RunGroup {
  std::string label;
  std::vector<RunRecord> runs;
};

/// The run directories that the paths name: each is one, or holds some in the folders below it (the folder of a table).
/// Throws Error for a path that is none and holds none, and for a run that is named twice.
std::vector<fs::path> find_runs(std::span<const fs::path> paths);

/// Which files of a run are wanted.
struct RecordParts {
  bool log = true, shapes = true;
};
/// Reads a run. A last line that was cut off is left out; throws Error with file and line for any other that is
/// damaged, and for a config.json that is none.
RunRecord read_run(const fs::path& folder, const RecordParts& parts = {});

/// Rows of runs, in the order of their first ones, labelled by their folders' names without "-seedN", or by `labels`.
/// Throws Error where tasks differ, or `labels` is not empty and not one per row.
std::vector<RunGroup> group_runs(std::vector<RunRecord> runs, std::span<const std::string> labels = {});

/// All three.
std::vector<RunGroup> read_groups(std::span<const fs::path> paths, const RecordParts& parts = {},
                                  std::span<const std::string> labels = {});

/// "dynopool, soft": the operators in the slots of model.pool that differ from each other; "human-designed" where none
/// is named. Each with its published name where it has one.
std::string pool_text(const Json& config);
/// In what order figures show the pool_text of rows: human-designed shapes 0, Shape Adaptor 1, DiffStride 2,
/// DynOPool 3.
int pool_rank(const std::string& text);
/// What may stand in one panel, the same images and as much training of the same network: "vgg16, cifar100, tile, 10000
/// images, 12 epochs".
std::string context_text(const Json& config, bool with_variant = true);
/// "plain", "tile (grid 2)".
std::string variant_text(const Json& config);
/// Whether an operator of model.pool learns its map's size.
bool learns_shapes(const RunRecord& run);

}  // namespace tidepool::figures
