// A table as Markdown, CSV and JSON.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "train/escape.h"
#include "train/report.h"

namespace tidepool {
namespace {

constexpr std::string_view kCommand = "Command";  // of a caption; shown as code

size_t characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

Json summary_json(const std::optional<Summary>& s, bool deviation) {
  if (!s) return nullptr;
  if (!deviation) return s->mean;
  return s->deviation ? Json(*s->deviation) : Json(nullptr);
}

std::string csv_number(const Json& value) {
  return value.is_null() ? "" : value.dump();
}

Json psnr_json(const ReportRow& row) {
  return row.fidelity && std::isfinite(row.fidelity->psnr()) ? Json(row.fidelity->psnr()) : Json(nullptr);
}
Json ssim_json(const ReportRow& row) {
  return row.fidelity && row.fidelity->ssim() ? Json(*row.fidelity->ssim()) : Json(nullptr);
}

Json cost_json(const ReportRow& row, double OperatorCost::*part, double unit) {
  return row.cost ? Json(unit * (*row.cost).*part) : Json(nullptr);
}

}  // namespace

std::string report_markdown(const Report& report) {
  ReportTable table = report_table(report);
  std::vector<size_t> wide;
  for (const std::string& name : table.header) wide.push_back(std::max<size_t>(3, characters(name)));
  for (auto& line : table.cells)
    for (size_t i = 0; i < line.size(); ++i) {
      line[i] = escape_markdown(line[i]);
      wide[i] = std::max(wide[i], characters(line[i]));
    }
  std::string text = fmt::format("# {}\n\n", escape_markdown(report.title));
  const auto add = [&](size_t i, const std::string& cell) {
    const std::string pad(wide[i] - characters(cell), ' ');
    text += fmt::format("| {} ", table.numbers[i] ? pad + cell : cell + pad);
  };
  for (size_t i = 0; i < wide.size(); ++i) add(i, table.header[i]);
  text += "|\n";
  for (size_t i = 0; i < wide.size(); ++i)
    text += table.numbers[i] ? fmt::format("|{}:", std::string(wide[i] + 1, '-'))
                             : fmt::format("|{}", std::string(wide[i] + 2, '-'));
  text += "|\n";
  for (const auto& line : table.cells) {
    for (size_t i = 0; i < line.size(); ++i) add(i, line[i]);
    text += "|\n";
  }
  text += "\n";
  for (const auto& [what, note] : report_notes(report))
    text += fmt::format("- **{}**: {}\n", what, what == kCommand ? code_markdown(note) : escape_markdown(note));
  return text;
}

std::string report_csv(const Report& report) {
  std::string text = fmt::format(
      "scale,data_set,row,data,model,pool,lambda,seeds,{0}_last_mean,{0}_last_std,{0}_best_mean,{0}_best_std,"
      "gmacs_mean,gmacs_std,equal_cost,parameters,step_ms_mean,step_ms_std,peak_bytes_mean,paired_difference,interval_"
      "low,"
      "interval_high,interval_reason,shapes,psnr,ssim,forward_ms,backward_ms,kept_bytes_per_element\n",
      report.metric.name);
  for (const ReportRow& row : report.rows) {
    const auto mean = [](const std::optional<Summary>& s) { return csv_number(summary_json(s, false)); };
    const auto deviation = [](const std::optional<Summary>& s) { return csv_number(summary_json(s, true)); };
    const bool interval = interval_reason(row).empty();
    std::vector<std::string> cells{
        report.scale,
        row.data_set,
        row.row.name,
        row.row.data,
        row.row.model,
        row.row.pool,
        fmt::format("{}", row.row.lambda),
        std::to_string(row_seeds(row)),
        mean(row.last),
        deviation(row.last),
        mean(row.best),
        deviation(row.best),
        mean(row.gmacs),
        deviation(row.gmacs),
        csv_number(row.equal_cost ? Json(*row.equal_cost) : Json(nullptr)),
        mean(row.parameters),
        mean(row.step_ms),
        deviation(row.step_ms),
        mean(row.peak_bytes),
        row.difference ? csv_number(row.difference->mean) : "",
        interval ? csv_number(row.difference->interval->first) : "",
        interval ? csv_number(row.difference->interval->second) : "",
        interval_reason(row),
        row.shapes.empty() ? "" : row_shapes_text(row),
        csv_number(psnr_json(row)),
        csv_number(ssim_json(row)),
        csv_number(cost_json(row, &OperatorCost::forward_seconds, 1e3)),
        csv_number(cost_json(row, &OperatorCost::backward_seconds, 1e3)),
        csv_number(cost_json(row, &OperatorCost::kept_bytes, 1)),
    };
    for (size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) text += ',';
      text += escape_csv(cells[i]);
    }
    text += '\n';
  }
  return text;
}

Json report_json(const Report& report) {
  const std::string& metric = report.metric.name;
  Json rows = Json::array();
  for (const ReportRow& row : report.rows) {
    Json shapes = Json::object();
    for (const ReportShape& s : row.shapes) shapes[s.slot] = {s.height, s.width};
    Json runs = Json::array();
    for (const auto& [seed, result] : row.seeds) {
      Json run{{"seed", seed}};
      run.update(result.json());
      runs.push_back(std::move(run));
    }
    Json interval = nullptr;
    if (interval_reason(row).empty()) interval = {row.difference->interval->first, row.difference->interval->second};
    Json labels = Json::object();
    for (const auto& [column, label] : row.row.labels) labels[column] = label;
    rows.push_back({{"name", row.row.name},
                    {"labels", labels},
                    {"data_set", row.data_set},
                    {"data", row.row.data},
                    {"model", row.row.model},
                    {"pool", row.row.pool},
                    {"lambda", row.row.lambda},
                    {"seeds", row_seeds(row)},
                    {metric + "_mean", summary_json(row.last, false)},
                    {metric + "_std", summary_json(row.last, true)},
                    {metric + "_best_mean", summary_json(row.best, false)},
                    {metric + "_best_std", summary_json(row.best, true)},
                    {"gmacs_mean", summary_json(row.gmacs, false)},
                    {"gmacs_std", summary_json(row.gmacs, true)},
                    {"equal_cost", row.equal_cost ? Json(*row.equal_cost) : Json(nullptr)},
                    {"parameters", row.seeds.empty() ? Json(nullptr) : Json(row.seeds.front().second.parameters)},
                    {"step_ms", summary_json(row.step_ms, false)},
                    {"peak_bytes", summary_json(row.peak_bytes, false)},
                    {"shapes", shapes},
                    {"baseline", row.row.baseline.empty() ? Json(nullptr) : Json(row.row.baseline)},
                    {"paired_difference", row.difference ? Json(row.difference->mean) : Json(nullptr)},
                    {"interval", interval},
                    {"interval_reason", interval.is_null() ? Json(interval_reason(row)) : Json(nullptr)},
                    {"psnr", psnr_json(row)},
                    {"ssim", ssim_json(row)},
                    {"forward_ms", cost_json(row, &OperatorCost::forward_seconds, 1e3)},
                    {"backward_ms", cost_json(row, &OperatorCost::backward_seconds, 1e3)},
                    {"kept_bytes_per_element", cost_json(row, &OperatorCost::kept_bytes, 1)},
                    {"published", row.published.empty() ? Json(nullptr) : Json(row.published)},
                    {"failures", row.failures},
                    {"runs", runs}});
  }
  Json caption = Json::object();
  for (const auto& [what, help] : report.caption) caption[what] = help;
  return {{"title", report.title}, {"scale", report.scale}, {"metric", metric}, {"complete", report.incomplete.empty()},
          {"rows", rows},          {"caption", caption}};
}

}  // namespace tidepool
