// The HTML page of a table: one file, with the shapes of each row drawn to scale and the figures of its runs.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/error.h"
#include "train/escape.h"
#include "train/figures/curves.h"
#include "train/figures/learned_shapes.h"
#include "train/figures/pareto.h"
#include "train/figures/run_record.h"
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

// Of the longest side of any map in the report, in CSS pixels of the small boxes within the table.
constexpr double kBoxSide = 30;

double pixels_per_element(const Report& report) {
  double longest = 1;
  for (const ReportRow& row : report.rows)
    for (const ReportShape& s : row.shapes) longest = std::max({longest, s.height, s.width});
  return kBoxSide / longest;
}

// Boxes to scale, one for each map.
std::string shapes_svg(const ReportRow& row, double scale) {
  if (row.shapes.empty()) return "-";
  constexpr double kGap = 4, kLeast = 2;
  double width = 0, height = 0;
  for (const ReportShape& s : row.shapes) {
    width += std::max(kLeast, s.width * scale) + kGap;
    height = std::max(height, s.height * scale);
  }
  std::string svg = fmt::format(R"(<svg role="img" aria-label="{}" width="{:.1f}" height="{:.1f}">)",
                                escape_html(shapes_text(row)), width, height + 2);
  double x = 1;
  for (const ReportShape& s : row.shapes) {
    const double w = std::max(kLeast, s.width * scale), h = std::max(kLeast, s.height * scale);
    svg +=
        fmt::format(R"(<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {} x {}</title></rect>)",
                    x, 1 + (height - h) / 2, w, h, escape_html(s.slot), length_text(s.height), length_text(s.width));
    x += w + kGap;
  }
  return svg + "</svg>";
}

// Whether a line is drawn between two rows: their first labels differ, or the second is a baseline of its own.
bool begins_group(const ReportRow& before, const ReportRow& row) {
  const auto& labels = row.row.labels;
  if (labels.size() < 2) return row.row.baseline.empty();
  return before.row.labels.empty() || before.row.labels.front() != labels.front();
}

std::string figure_html(const figures::Drawing& drawing, const std::string& caption) {
  return fmt::format("<figure>\n{}<figcaption>{}</figcaption>\n</figure>\n", figures::svg(drawing),
                     escape_html(caption));
}

// The runs of the report whose folders are there, row by row.
std::vector<figures::RunGroup> report_runs(const Report& report, const std::filesystem::path& folder) {
  std::vector<figures::RunGroup> groups;
  for (const ReportRow& row : report.rows) {
    figures::RunGroup group{.label = row.row.name, .runs = {}};
    for (const auto& [seed, result] : row.seeds) {
      const auto run = folder / "runs" / fmt::format("{}-seed{}", row.row.name, seed);
      if (std::filesystem::exists(run / "log.jsonl") && std::filesystem::exists(run / "config.json"))
        group.runs.push_back(figures::read_run(run));
    }
    if (!group.runs.empty()) groups.push_back(std::move(group));
  }
  return groups;
}

// For what was trained on the same data: learned shapes, accuracy against GMACs, and curves.
std::string drawn_figures(const Report& report, const std::filesystem::path& folder) {
  std::vector<figures::RunGroup> groups = report_runs(report, folder);
  std::erase_if(groups, [](const figures::RunGroup& group) { return group.runs.front().steps.empty(); });
  std::vector<std::pair<std::string, std::vector<figures::RunGroup>>> parts;
  for (figures::RunGroup& group : groups) {
    const std::string context = figures::context_text(group.runs.front().config);
    auto part = std::find_if(parts.begin(), parts.end(), [&](const auto& p) { return p.first == context; });
    if (part == parts.end()) part = parts.insert(part, {context, {}});
    part->second.push_back(std::move(group));
  }
  std::string text;
  for (const auto& [context, rows] : parts) {
    text += fmt::format("<h2>Figures: {}</h2>\n", escape_html(context));
    if (std::any_of(rows.begin(), rows.end(), [](const auto& row) { return figures::learns_shapes(row.runs.front()); }))
      text += figure_html(
          figures::draw_learned_shapes(rows),
          "The map after every resize slot, to scale, and the paths of the shape parameters: " + context + ".");
    if (rows.size() > 1)
      text += figure_html(figures::draw_pareto(rows), report.metric.label + " against GMACs: " + context + ".");
    text += figure_html(figures::draw_curves(rows, {.panels = {"loss", "accuracy"}, .columns = 3}),
                        "Training: " + context + ".");
  }
  return text;
}

// The table stands without them where a run cannot be read.
std::string figures_html(const Report& report, const std::filesystem::path& folder) {
  try {
    return drawn_figures(report, folder);
  } catch (const Error& error) {
    return fmt::format("<p class=\"warning\">No figures: {}</p>\n", escape_html(error.what()));
  }
}

}  // namespace

std::string report_html(const Report& report, const std::filesystem::path& folder) {
  std::string text = fmt::format(R"html(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{0}</title>
<style>
body {{ font: 15px/1.5 system-ui, Helvetica, Arial, sans-serif; margin: 2rem auto; max-width: 1240px; padding: 0 1rem; color: #222; }}
h1 {{ font-size: 1.4rem; }}
h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 12.5px; line-height: 1.35; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .45rem; text-align: left; }}
th {{ border-bottom: 2px solid #222; vertical-align: bottom; }}
td {{ white-space: nowrap; }}
td.last {{ white-space: normal; }}
.n {{ text-align: right; }}
tr.first td {{ border-top: 1px solid #999; }}
tr.learned td {{ background: #eef6fb; }}
td rect {{ fill: #bcdcf0; stroke: #15608f; }}
td svg {{ display: block; }}
figure {{ margin: 1.5rem 0; }}
figure svg {{ max-width: 100%; height: auto; border: 1px solid #e4e4e4; }}
figcaption {{ font-size: .9rem; color: #555; }}
dl {{ display: grid; grid-template-columns: max-content auto; gap: .2rem 1rem; margin-top: 1.5rem; font-size: .9rem; }}
dt {{ font-weight: 600; }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
.warning {{ color: #a40000; }}
@page {{ size: A4 landscape; margin: 12mm; }}
@media print {{
  body {{ margin: 0; padding: 0; max-width: none; font-size: 10pt; -webkit-print-color-adjust: exact; print-color-adjust: exact; }}
  table {{ font-size: 7.5pt; }}
  th, td {{ padding: .15rem .25rem; }}
  thead {{ display: table-header-group; }}
  tr, figure {{ break-inside: avoid; }}
  figure svg {{ max-height: 165mm; border: none; }}
  h2 {{ break-after: avoid; }}
}}
</style></head><body>
<h1>{0}</h1>
<div class="wide"><table>
<thead><tr>)html",
                                 escape_html(report.title));
  const ReportTable table = report_table(report);
  const std::vector<bool> numbers = number_columns(table);
  for (size_t i = 0; i < table.header.size(); ++i)
    text += fmt::format("<th{}>{}</th>", numbers[i] ? " class=\"n\"" : "", escape_html(table.header[i]));
  text += "<th>drawn to scale</th></tr></thead>\n<tbody>\n";
  const double scale = pixels_per_element(report);
  for (size_t r = 0; r < table.cells.size(); ++r) {
    const auto& cells = table.cells[r];
    const ReportRow& row = report.rows[r];
    std::string classes = r == 0 || begins_group(report.rows[r - 1], row) ? "first" : "";
    if (row.row.learns_shape) classes += classes.empty() ? "learned" : " learned";
    text += fmt::format("<tr class=\"{}\">", classes);
    for (size_t i = 0; i < cells.size(); ++i)
      text += fmt::format("<td{}>{}</td>",
                          numbers[i]              ? " class=\"n\""
                          : i + 1 == cells.size() ? " class=\"last\""
                                                  : "",
                          escape_html(cells[i]));
    text += fmt::format("<td>{}</td></tr>\n", shapes_svg(row, scale));
  }
  text += "</tbody></table></div>\n<dl>\n";
  for (const auto& [what, note] : report_notes(report)) {
    const bool warning = what == "INCOMPLETE" || what == "Failed";
    text += fmt::format("<dt{0}>{1}</dt><dd{0}>{2}</dd>\n", warning ? " class=\"warning\"" : "", escape_html(what),
                        what == kCommand ? "<code>" + escape_html(note) + "</code>" : escape_html(note));
  }
  text += "</dl>\n";
  if (!folder.empty()) text += figures_html(report, folder);
  return text + "</body></html>\n";
}

}  // namespace tidepool
