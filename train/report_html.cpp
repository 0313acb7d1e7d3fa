// The HTML page of a table: one file, with the shapes of each row drawn to scale.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "train/escape.h"
#include "train/report.h"

namespace tidepool {
namespace {

constexpr std::string_view kCommand = "Command";  // of the notes; shown as code

// 16, but 15.7
std::string length_text(double length) {
  return length == std::round(length) ? fmt::format("{:.0f}", length) : fmt::format("{:.1f}", length);
}

std::string shapes_text(const ReportRow& row) {
  std::string text;
  for (const ReportShape& s : row.shapes)
    text += fmt::format("{}{}x{}", text.empty() ? "" : " ", length_text(s.height), length_text(s.width));
  return text;
}

// "12.00 ± 2.00", "+1.20 [...]", "-", but neither "16x16 8x8" nor "vgg16".
bool is_number(const std::string& cell) {
  if (cell == "-") return true;
  char* end = nullptr;
  std::strtod(cell.c_str(), &end);
  return end != cell.c_str() && (*end == 0 || *end == ' ' || *end == ',');
}

std::vector<bool> number_columns(const ReportTable& table) {
  std::vector<bool> numbers(table.header.size(), true);
  for (const auto& line : table.cells)
    for (size_t i = 0; i < line.size(); ++i) numbers[i] = numbers[i] && is_number(line[i]);
  return numbers;
}

// Boxes to scale: one for each map, with the input's outline behind them.
std::string shapes_svg(const ReportRow& row) {
  if (row.shapes.empty()) return "-";
  constexpr double kPixel = 1.5, kGap = 6;
  double width = 0, height = 0;
  for (const ReportShape& s : row.shapes) {
    width += std::max(2.0, s.width * kPixel) + kGap;
    height = std::max(height, s.height * kPixel);
  }
  std::string svg = fmt::format(R"(<svg role="img" aria-label="{}" width="{:.1f}" height="{:.1f}">)",
                                escape_html(shapes_text(row)), width, height + 2);
  double x = 1;
  for (const ReportShape& s : row.shapes) {
    const double w = std::max(2.0, s.width * kPixel), h = std::max(2.0, s.height * kPixel);
    svg +=
        fmt::format(R"(<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {} x {}</title></rect>)",
                    x, 1 + (height - h) / 2, w, h, escape_html(s.slot), length_text(s.height), length_text(s.width));
    x += w + kGap;
  }
  return svg + "</svg>";
}

}  // namespace

std::string report_html(const Report& report) {
  std::string text = fmt::format(R"html(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{0}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem; color: #222; }}
h1 {{ font-size: 1.4rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }}
th, td {{ padding: .3rem .7rem; text-align: left; }}
th {{ border-bottom: 2px solid #222; }}
.n {{ text-align: right; }}
tr.first td {{ border-top: 1px solid #999; }}
tr.learned td {{ background: #eef6fb; }}
rect {{ fill: #bcdcf0; stroke: #15608f; }}
dl {{ display: grid; grid-template-columns: max-content auto; gap: .2rem 1rem; margin-top: 1.5rem; }}
dt {{ font-weight: 600; }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
.warning {{ color: #a40000; }}
</style></head><body>
<h1>{0}</h1>
<div class="wide"><table>
<tr>)html",
                                 escape_html(report.title));
  const ReportTable table = report_table(report);
  const std::vector<bool> numbers = number_columns(table);
  for (size_t i = 0; i < table.header.size(); ++i)
    text += fmt::format("<th{}>{}</th>", numbers[i] ? " class=\"n\"" : "", escape_html(table.header[i]));
  text += "<th>drawn to scale</th></tr>\n";
  for (size_t r = 0; r < table.cells.size(); ++r) {
    const auto& cells = table.cells[r];
    const ReportRow& row = report.rows[r];
    std::string classes = r == 0 || cells.front() != table.cells[r - 1].front() ? "first" : "";
    if (row.row.learns_shape) classes += classes.empty() ? "learned" : " learned";
    text += fmt::format("<tr class=\"{}\">", classes);
    for (size_t i = 0; i < cells.size(); ++i)
      text += fmt::format("<td{}>{}</td>", numbers[i] ? " class=\"n\"" : "", escape_html(cells[i]));
    text += fmt::format("<td>{}</td></tr>\n", shapes_svg(row));
  }
  text += "</table></div>\n<dl>\n";
  for (const auto& [what, note] : report_notes(report)) {
    const bool warning = what == "INCOMPLETE" || what == "Failed";
    text += fmt::format("<dt{0}>{1}</dt><dd{0}>{2}</dd>\n", warning ? " class=\"warning\"" : "", escape_html(what),
                        what == kCommand ? "<code>" + escape_html(note) + "</code>" : escape_html(note));
  }
  return text + "</dl>\n</body></html>\n";
}

}  // namespace tidepool
