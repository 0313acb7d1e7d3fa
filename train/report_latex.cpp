// A table as LaTeX.
#include <algorithm>
#include <map>
#include <set>

#include "train/escape.h"
#include "train/report.h"
#include "train/report_columns.h"

namespace tidepool {
namespace {

// Rows that are compared with one another: a baseline and those that name it.
std::string group_of(const ReportRow& row) {
  return row.row.baseline.empty() ? row.row.name : row.row.baseline;
}

// Of each group of two rows or more with a result, those with the largest mean.
std::set<const ReportRow*> best_rows(const Report& report, std::optional<Summary> ReportRow::*metric) {
  const bool compared = std::any_of(report.rows.begin(), report.rows.end(),
                                    [](const ReportRow& row) { return !row.row.baseline.empty(); });
  std::map<std::string, std::vector<const ReportRow*>> groups;
  for (const ReportRow& row : report.rows)
    if (row.*metric) groups[compared ? group_of(row) : std::string()].push_back(&row);
  std::set<const ReportRow*> best;
  for (const auto& [name, rows] : groups) {
    if (rows.size() < 2) continue;
    double most = 0;
    for (const ReportRow* row : rows) most = std::max(most, (row->*metric)->mean);
    for (const ReportRow* row : rows)
      if ((row->*metric)->mean == most) best.insert(row);
  }
  return best;
}

bool other_group(const ReportRow& row, const ReportRow& before) {
  if (row.row.labels.size() < 2) return false;
  for (size_t i = 0; i + 1 < row.row.labels.size(); ++i)
    if (row.row.labels[i] != before.row.labels[i]) return true;
  return false;
}

}  // namespace

std::string report_latex(const Report& report) {
  const ReportTable table = report_table(report);
  const std::vector<ReportColumn> columns = report_columns(report);
  const std::set<const ReportRow*> last = best_rows(report, &ReportRow::last),
                                   best = best_rows(report, &ReportRow::best);
  std::string format, header;
  for (size_t i = 0; i < table.header.size(); ++i) {
    format += table.numbers[i] ? 'r' : 'l';
    if (!header.empty()) header += " & ";
    header += escape_latex(table.header[i]);
  }
  std::string text = fmt::format(
      "% Written by tidepool; needs \\usepackage{{booktabs}}.\n\\begin{{table}}\n\\centering\n\\caption{{{}}}\n"
      "\\label{{{}}}\n\\footnotesize\n\\begin{{tabular}}{{{}}}\n\\toprule\n{} \\\\\n\\midrule\n",
      escape_latex(report.title) + ".", report.label, format, header);
  for (size_t r = 0; r < table.cells.size(); ++r) {
    const ReportRow& row = report.rows[r];
    if (r > 0 && other_group(row, report.rows[r - 1])) text += "\\midrule\n";
    for (size_t i = 0; i < table.cells[r].size(); ++i) {
      const std::string cell = escape_latex(table.cells[r][i]);
      const bool bold = (columns[i].name == report.metric.name + "_last" && last.contains(&row)) ||
                        (columns[i].name == report.metric.name + "_best" && best.contains(&row));
      text += fmt::format("{}{}{}{}", i > 0 ? " & " : "", bold ? "\\textbf{" : "", cell, bold ? "}" : "");
    }
    text += " \\\\\n";
  }
  text += "\\bottomrule\n\\end{tabular}\n\n\\smallskip\n\\parbox{\\linewidth}{\\scriptsize\n";
  for (const auto& [what, note] : report_notes(report))
    text += what == "Command" ? fmt::format("Command: \\texttt{{{}}}.\n", escape_latex(report.short_command))
                              : fmt::format("{}: {}.\n", escape_latex(what), escape_latex(note));
  return text + "}\n\\end{table}\n";
}

}  // namespace tidepool
