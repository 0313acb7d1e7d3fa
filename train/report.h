// A table as Markdown, CSV, LaTeX, JSON and one HTML page, all from the same rows.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"
#include "data/fidelity.h"
#include "train/experiments.h"
#include "train/statistics.h"

namespace tidepool {

/// Mean (height, width) over the seeds of the map after a resize slot.
struct ReportShape {
  std::string slot;
  double height = 0, width = 0;
};

/// Beside the GMACs of a row that is not at its budget.
inline constexpr const char* kUnequalCost = "*";

/// What an operator costs alone on the map of the first slot that it fills, in f32.
struct OperatorCost {
  double forward_seconds = 0, backward_seconds = 0;  ///< of a batch; medians
  double kept_bytes = 0;                             ///< for the backward, per element of the map
};

struct ReportRow {
  Row row;
  std::string data_set;                         ///< "cifar100": Row::data is the label of its variant
  int64_t wanted = 0;                           ///< seeds asked for; `last` says how many there are
  std::optional<Summary> last = {}, best = {};  ///< of the report's metric on test images, 0 to 1
  std::optional<Summary> validation = {};       ///< of the last weights on the validation part
  std::optional<Summary> gmacs = {}, parameters = {}, step_ms = {}, peak_bytes = {};
  std::optional<bool> equal_cost =
      {};  ///< whether every seed ended at its budget (GmacsTerm::kEqualCost); none: no budget
  std::vector<ReportShape> shapes = {};
  std::optional<Fidelity> fidelity = {};            ///< of the operator, not of the runs
  std::optional<OperatorCost> cost = {};            ///< likewise
  std::string published = {};                       ///< "72.93 [1], 74.00 [2]"; the notes have the sources
  std::optional<PairedDifference> difference = {};  ///< of `last` to the baseline's, same seeds; none for a baseline
  bool same_runs = false;                  ///< the baseline's function (see same_function) in every seed of both
  std::vector<std::string> failures = {};  ///< "seed 2: the loss is not finite ..."
  std::vector<std::pair<uint64_t, RunResult>> seeds = {};
};

struct Report {
  std::string title;                                         ///< "Table 1 (quick): ..."
  std::string label;                                         ///< of LaTeX: "tab:table1-quick"
  std::vector<std::pair<std::string, std::string>> caption;  ///< what, plain text
  std::string scale;
  Metric metric;  ///< the primary one of the rows' task
  std::vector<ReportRow> rows;
  std::vector<std::string> labels;   ///< columns of the rows' labels
  std::vector<std::string> columns;  ///< behind them; see report_columns.h
  std::string incomplete;            ///< what is missing; "" when nothing is
  std::string short_command;         ///< the command without local paths
};

/// What a caption says that the plan does not know.
struct ReportFacts {
  std::string data;                               ///< "CIFAR-100, the real images"
  std::string revision;                           ///< "" when not known
  std::string command;                            ///< as it was called
  std::string short_command = {};                 ///< the same without local paths
  std::string machine;                            ///< "2 threads per run, 1 run at a time"
  int threads = 0;                                ///< of a run; 0: not known
  std::map<std::string, Fidelity> fidelity = {};  ///< by row; of tables with such columns
  std::map<std::string, OperatorCost> costs = {};
};

/// Rows that --only leaves out are there when their results are.
Report make_report(const TablePlan& plan, const std::vector<RunOutcome>& outcomes, const ReportFacts& facts);

/// The cells that every format but CSV and JSON shows, as text without escapes.
struct ReportTable {
  std::vector<std::string> header;
  std::vector<bool> numbers;                    ///< columns that are aligned to the right
  std::vector<std::vector<std::string>> cells;  ///< by row
  /// Headers of what a narrow terminal may leave out, the least important first; and of what it always shows.
  std::vector<std::string> minor, keep;
};
ReportTable report_table(const Report& report);
/// What stands below the table: what is missing and what failed, then the caption.
std::vector<std::pair<std::string, std::string>> report_notes(const Report& report);
/// Why a row has no interval: "baseline", "no runs", "same runs", "one seed", "no spread"; "" when it has one.
std::string interval_reason(const ReportRow& row);

/// Finished runs of a row.
int64_t row_seeds(const ReportRow& row);
/// "16x16 8x8.3", or "-".
std::string row_shapes_text(const ReportRow& row);

std::string report_markdown(const Report& report);
/// One header line and one line per row, numbers in full: fractions, bytes, milliseconds.
std::string report_csv(const Report& report);
/// A table environment for the package booktabs, with the best value of each group of rows in bold and its provenance
/// in a note below it.
std::string report_latex(const Report& report);
/// A page that needs no other file; the shapes of each row drawn to scale, and the figures of the runs in `folder` /
/// "runs" (empty: without them).
std::string report_html(const Report& report, const std::filesystem::path& folder = {});
/// {"rows": [...]}, what `tidepool table --json` prints: data, model, pool, lambda, seeds, "<metric>_mean" and other
/// means, intervals and more.
Json report_json(const Report& report);

/// Writes NAME.md, .csv, .tex and .html, each whole or not at all; makes the folder. Throws Failure, or Error when the
/// folder cannot be one.
void write_report(const Report& report, const std::filesystem::path& folder, const std::string& name);

}  // namespace tidepool
