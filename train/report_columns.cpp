#include "train/report_columns.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "train/escape.h"

namespace tidepool {
namespace {

std::string percent_text(const std::optional<Summary>& s) {
  if (!s) return "-";
  std::string text = fmt::format("{:.2f}", 100 * s->mean);
  if (s->deviation) text += fmt::format(" {} {:.2f}", kPlusMinus, 100 * *s->deviation);
  return text;
}

std::string mean_text(const std::optional<Summary>& s, double unit, int digits) {
  return s ? fmt::format("{:.{}f}", s->mean / unit, digits) : "-";
}

std::string difference_text(const ReportRow& row) {
  const std::string reason = interval_reason(row);
  if (reason == "same runs") return reason;
  if (reason == "no spread") return fmt::format("{:+.2f}, no spread", 100 * row.difference->mean);
  if (!reason.empty()) return "-";
  const auto [low, high] = *row.difference->interval;
  return fmt::format("{:+.2f} [{:+.2f}, {:+.2f}]", 100 * row.difference->mean, 100 * low, 100 * high);
}

std::string seeds_text(const ReportRow& row) {
  const int64_t n = row_seeds(row);
  return n == row.wanted ? std::to_string(n) : fmt::format("{} of {}", n, row.wanted);
}

template <class T, class Text>
std::string optional_text(const std::optional<T>& value, const Text& text) {
  return value ? text(*value) : std::string("-");
}

// All that there are, of a table with that metric.
std::vector<ReportColumn> all_columns(const Metric& metric) {
  constexpr double kMiB = 1024.0 * 1024.0;
  const auto milliseconds = [](double seconds) { return fmt::format("{:.3f}", 1e3 * seconds); };
  return {
      {"data", "data", false, [](const ReportRow& r) { return r.row.data; }, 0},
      {"model", "network", false, [](const ReportRow& r) { return r.row.model; }, 0},
      {"pool", "operators", false, [](const ReportRow& r) { return r.row.pool; }, 0},
      {"lambda", "lambda", true,
       [](const ReportRow& r) { return r.row.lambda > 0 ? fmt::format("{:g}", r.row.lambda) : "-"; }, 0},
      {metric.name + "_last", metric.label + " last, %", true,
       [](const ReportRow& r) { return r.seeds.empty() ? "not run" : percent_text(r.last); }, 0},
      {metric.name + "_best", metric.label + " best, %", true, [](const ReportRow& r) { return percent_text(r.best); },
       7},
      {"val_" + metric.name + "_last", metric.label + " validation, %", true,
       [](const ReportRow& r) { return percent_text(r.validation); }, 4},
      {"seeds", "n", true, seeds_text, 2},
      {"difference", "difference [95%]", true, difference_text, 1},
      {"published", "published, %", false, [](const ReportRow& r) { return r.published.empty() ? "-" : r.published; },
       3},
      {"gmacs", "GMACs", true,
       [](const ReportRow& r) { return mean_text(r.gmacs, 1, 4) + (r.equal_cost.value_or(true) ? "" : kUnequalCost); },
       3},
      {"parameters", "parameters, M", true, [](const ReportRow& r) { return mean_text(r.parameters, 1e6, 3); }, 9},
      {"step_ms", "ms per step", true, [](const ReportRow& r) { return mean_text(r.step_ms, 1, 1); }, 5},
      {"peak_bytes", "peak, MiB", true, [](const ReportRow& r) { return mean_text(r.peak_bytes, kMiB, 0); }, 8},
      {"forward_ms", "forward, ms", true,
       [=](const ReportRow& r) {
         return optional_text(r.cost, [&](const OperatorCost& c) { return milliseconds(c.forward_seconds); });
       },
       5},
      {"backward_ms", "backward, ms", true,
       [=](const ReportRow& r) {
         return optional_text(r.cost, [&](const OperatorCost& c) { return milliseconds(c.backward_seconds); });
       },
       5},
      {"kept_bytes", "kept, B/element", true,
       [](const ReportRow& r) {
         return optional_text(r.cost, [](const OperatorCost& c) { return fmt::format("{:.3g}", c.kept_bytes); });
       },
       6},
      {"psnr", "PSNR, dB", true,
       [](const ReportRow& r) {
         return optional_text(r.fidelity, [](const Fidelity& f) { return fmt::format("{:.2f}", f.psnr()); });
       },
       4},
      {"ssim", "SSIM", true,
       [](const ReportRow& r) {
         return r.fidelity && r.fidelity->ssim() ? fmt::format("{:.4f}", *r.fidelity->ssim()) : "-";
       },
       6},
      {"shapes", "final shapes", false, row_shapes_text, 4},
  };
}

std::vector<std::string> usual_columns(const Metric& metric) {
  return {metric.name + "_last", "seeds",   metric.name + "_best", "difference", "gmacs",
          "parameters",          "step_ms", "peak_bytes",          "shapes"};
}

}  // namespace

std::vector<std::string> column_names(const Metric& metric) {
  std::vector<std::string> names;
  for (const ReportColumn& column : all_columns(metric)) names.push_back(column.name);
  return names;
}

std::vector<std::string> checked_columns(const TablePlan& plan, const Metric& metric) {
  const bool asked = !plan.options.columns.empty();
  const std::vector<std::string>& columns = asked ? plan.options.columns : plan.table.columns;
  if (columns.empty()) return usual_columns(plan.metric());
  const std::vector<std::string> known = column_names(asked ? plan.metric() : metric),
                                 names = column_names(plan.metric());
  std::vector<std::string> checked;
  for (size_t i = 0; i < columns.size(); ++i) {
    const std::string path = fmt::format("columns.{}", i);
    const std::string where = asked ? std::string("--columns") : plan.table.place(path) + path;
    const auto found = std::find(known.begin(), known.end(), columns[i]);
    if (found == known.end())
      throw Error("{}: unknown column '{}'{}; there are {}", where, columns[i], did_you_mean(columns[i], known),
                  fmt::join(known, ", "));
    const std::string& name = names[static_cast<size_t>(found - known.begin())];
    if (std::find(checked.begin(), checked.end(), name) != checked.end())
      throw Error("{}: the column '{}' is there already", where, columns[i]);
    checked.push_back(name);
  }
  return checked;
}

std::vector<ReportColumn> report_columns(const Report& report) {
  std::vector<ReportColumn> columns;
  for (const std::string& label : report.labels)
    columns.push_back({label, label, false,
                       [label](const ReportRow& row) {
                         for (const auto& [column, text] : row.row.labels)
                           if (column == label) return text;
                         return std::string();
                       },
                       0});
  const std::vector<ReportColumn> all = all_columns(report.metric);
  for (const std::string& name : report.columns) {
    if (std::find(report.labels.begin(), report.labels.end(), name) != report.labels.end()) continue;
    columns.push_back(*std::find_if(all.begin(), all.end(), [&](const ReportColumn& c) { return c.name == name; }));
  }
  return columns;
}

}  // namespace tidepool
