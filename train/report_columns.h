// The columns of a table, by the names that table files and --columns use.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "train/experiments.h"
#include "train/report.h"

namespace tidepool {

struct ReportColumn {
  std::string name;    ///< "top1_last"
  std::string header;  ///< "top-1 last, %"
  bool number = true;  ///< aligned to the right
  std::function<std::string(const ReportRow&)> cell;
  /// A narrow terminal leaves out the column with the highest first; 0: it stays.
  int minor = 0;
};

/// Every column of a table with that primary metric: "top1_last", "top1_best", "difference", "seeds", "gmacs", ...
std::vector<std::string> column_names(const Metric& metric);

/// The columns that a plan asks for: those of its options, else of its file, else the usual ones. The file's speak of
/// `metric`, that of its configs; where --set has another task, they are that task's. Throws Error for an unknown or a
/// repeated one, naming --columns or the place in the file.
std::vector<std::string> checked_columns(const TablePlan& plan, const Metric& metric);

/// The labels of the rows, then the report's columns.
std::vector<ReportColumn> report_columns(const Report& report);

}  // namespace tidepool
