#include "train/report.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <span>

#include "core/atomic_file.h"
#include "core/error.h"
#include "train/escape.h"

namespace tidepool {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kCommand = "Command";  // of a caption; shown as code

std::string number_or(const std::optional<int64_t>& n, const char* otherwise) {
  return n ? std::to_string(*n) : std::string(otherwise);
}

// 16, but 15.7
std::string length_text(double length) {
  return length == std::round(length) ? fmt::format("{:.0f}", length) : fmt::format("{:.1f}", length);
}

std::string shapes_text(const ReportRow& row) {
  std::string text;
  for (const ReportShape& s : row.shapes)
    text += fmt::format("{}{}x{}", text.empty() ? "" : " ", length_text(s.height), length_text(s.width));
  return text.empty() ? "-" : text;
}

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

struct Column {
  std::string name;
  bool number;
  std::string (*cell)(const ReportRow&);
  int minor;                               // a narrow terminal leaves out the highest first; 0: always there
  bool (*shown)(const Report&) = nullptr;  // null: always
};

int64_t seeds_of(const ReportRow& row) {
  return row.last ? row.last->n : 0;
}

bool has_fidelity(const Report& report) {
  return report.fidelity;
}

// What every format but CSV and JSON shows.
std::vector<Column> columns(const Report& report) {
  const std::vector<Column> all{
      {"data", false, [](const ReportRow& r) { return r.row.data; }, 0},
      {"network", false, [](const ReportRow& r) { return r.row.model; }, 0},
      {"pool", false, [](const ReportRow& r) { return r.row.pool; }, 0},
      {"lambda", true, [](const ReportRow& r) { return r.row.lambda > 0 ? fmt::format("{:g}", r.row.lambda) : "-"; },
       0},
      {report.metric.label + " last, %", true, [](const ReportRow& r) { return percent_text(r.last); }, 0},
      {"n", true,
       [](const ReportRow& r) {
         return seeds_of(r) == r.wanted ? std::to_string(r.wanted) : fmt::format("{} of {}", seeds_of(r), r.wanted);
       },
       2},
      {report.metric.label + " best, %", true, [](const ReportRow& r) { return percent_text(r.best); }, 7},
      {"difference [95%]", true, difference_text, 1},
      {"GMACs", true, [](const ReportRow& r) { return mean_text(r.gmacs, 1, 4); }, 3},
      {"parameters, M", true, [](const ReportRow& r) { return mean_text(r.parameters, 1e6, 3); }, 9},
      {"ms a step", true, [](const ReportRow& r) { return mean_text(r.step_ms, 1, 1); }, 5},
      {"peak, MiB", true, [](const ReportRow& r) { return mean_text(r.peak_bytes, 1024.0 * 1024.0, 0); }, 8},
      {"PSNR, dB", true,
       [](const ReportRow& r) { return r.fidelity ? fmt::format("{:.2f}", r.fidelity->psnr()) : "-"; }, 4,
       has_fidelity},
      {"SSIM", true,
       [](const ReportRow& r) {
         return r.fidelity && r.fidelity->ssim() ? fmt::format("{:.4f}", *r.fidelity->ssim()) : "-";
       },
       6, has_fidelity},
      {"final shapes", false, shapes_text, 4},
  };
  std::vector<Column> shown;
  for (const Column& column : all)
    if (!column.shown || column.shown(report)) shown.push_back(column);
  return shown;
}

std::vector<std::vector<std::string>> cells_of(const Report& report) {
  const std::vector<Column> shown = columns(report);
  std::vector<std::vector<std::string>> cells;
  for (const ReportRow& row : report.rows) {
    auto& line = cells.emplace_back();
    for (const Column& column : shown) line.push_back(column.cell(row));
  }
  return cells;
}

size_t characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string variant_text(const VariantOptions& v) {
  if (v.type == "stretch_v") return fmt::format("stretched {:g} times in height, then cropped", v.factor);
  if (v.type == "stretch_h") return fmt::format("stretched {:g} times in width, then cropped", v.factor);
  if (v.type == "tile") return fmt::format("shrunk, then repeated {}x{} times", v.grid, v.grid);
  if (v.type == "large") return fmt::format("shrunk to {}x{}, then enlarged", v.size, v.size);
  return "as they are";
}

// What `text` says of each config, every answer once.
template <class Text>
std::string each(std::span<const Config* const> shown, const Text& text) {
  std::vector<std::string> all;
  for (const Config* config : shown)
    if (std::string one = text(*config); std::find(all.begin(), all.end(), one) == all.end())
      all.push_back(std::move(one));
  return fmt::format("{}", fmt::join(all, " or "));
}

std::string schedule_text(const ScheduleConfig& schedule) {
  std::string text = "constant";
  if (schedule.type == ScheduleType::kCosine) text = fmt::format("cosine to {:g}", schedule.end_lr);
  if (schedule.type == ScheduleType::kLinear) text = fmt::format("linear to {:g}", schedule.end_lr);
  if (schedule.type == ScheduleType::kPolynomial)
    text = fmt::format("to {:g} by the power {:g}", schedule.end_lr, schedule.power);
  if (schedule.type == ScheduleType::kExponential)
    text = fmt::format("times {:g} every {:g} epochs", schedule.gamma, schedule.every_epochs);
  if (schedule.type == ScheduleType::kStep)
    text = fmt::format("times {:g} at the epochs {}", schedule.gamma, fmt::join(schedule.milestones, ", "));
  return text + (schedule.warmup_epochs > 0 ? fmt::format(" after {:g} epochs of warm-up", schedule.warmup_epochs)
                                            : std::string(" without warm-up"));
}

// The numbers as the runs have them, so that --set shows.
std::string scale_text(const TablePlan& plan, std::span<const Config* const> shown) {
  std::string text = fmt::format(
      "{}: width {}, {} training images, of them {} as validation part, and {} test images, epochs: {}, batch {}, "
      "learning rate {}, {}",
      plan.scale.name, each(shown, [](const Config& c) { return fmt::format("{:g}", c.model.width); }),
      each(shown, [](const Config& c) { return number_or(c.data.train_images, "all"); }),
      each(shown, [](const Config& c) { return c.data.val_images ? std::to_string(c.data.val_images) : "none"; }),
      each(shown, [](const Config& c) { return number_or(c.data.test_images, "all"); }),
      each(shown,
           [](const Config& c) {
             return c.train.max_steps ? fmt::format("{}, ended after step {}", c.train.epochs, *c.train.max_steps)
                                      : std::to_string(c.train.epochs);
           }),
      each(shown, [](const Config& c) { return std::to_string(c.train.batch); }),
      each(shown, [](const Config& c) { return fmt::format("{:g}", c.optim.lr); }),
      each(shown, [](const Config& c) { return schedule_text(c.optim.schedule); }));
  std::vector<const Config*> grouped;
  for (const Config* config : shown)
    if (!config->optim.groups.empty()) grouped.push_back(config);
  if (!grouped.empty())
    text += fmt::format("; {}", each(grouped, [](const Config& c) {
                          const ParamGroupConfig& g = c.optim.groups.front();
                          return fmt::format("{}: learning rate {:g}, frozen until epoch {}",
                                             g.match == "*.alpha" ? "shape parameters" : g.match, g.lr, g.first_epoch);
                        }));
  return text;
}

std::string variants_text(const Report& report, std::span<const Config* const> shown) {
  std::string text;
  std::vector<std::string> seen;
  for (size_t i = 0; i < shown.size(); ++i) {
    const std::string& data = report.rows[i].row.data;
    if (std::find(seen.begin(), seen.end(), data) != seen.end()) continue;
    seen.push_back(data);
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", data, variant_text(shown[i]->data.variant));
  }
  return text;
}

// Rows that --set made the same: "a = b".
std::string repeated_text(const Report& report, std::span<const Config* const> shown) {
  std::map<nlohmann::json, std::vector<std::string>> rows;
  for (size_t i = 0; i < shown.size(); ++i) {
    nlohmann::json config = shown[i]->resolved;
    config.erase("name");
    rows[config].push_back(report.rows[i].row.name);
  }
  std::string text;
  for (const auto& [config, names] : rows)
    if (names.size() > 1) text += fmt::format("{}{}", text.empty() ? "" : "; ", fmt::join(names, " = "));
  return text.empty() ? text : "--set makes these rows one and the same config: " + text;
}

// What the run's folder says of how it was made; an empty object where it does not.
Json run_provenance(const PlannedRun& run) {
  const fs::path file = run.folder / "provenance.json";
  try {
    return fs::exists(file) ? read_json(file) : Json::object();
  } catch (const Error&) {
    return Json::object();
  }
}

// Results may be of an earlier call, of another revision or with other threads: what `text` says of each run's
// provenance, where it is not `now`, with the number of runs. "" when all are of now.
template <class Text>
std::string earlier_text(const TablePlan& plan, const std::vector<RunOutcome>& outcomes, const std::string& now,
                         const Text& text) {
  std::map<std::string, int> others;
  for (size_t k = 0; k < outcomes.size(); ++k)
    if (outcomes[k].result && outcomes[k].read)
      if (const std::string one = text(run_provenance(plan.runs[k])); !one.empty() && one != now) ++others[one];
  std::string all;
  for (const auto& [one, runs] : others)
    all += fmt::format("; {} run{} of an earlier call: {}", runs, runs == 1 ? "" : "s", one);
  return all;
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

std::string failures_text(const Report& report) {
  std::string text;
  for (const ReportRow& row : report.rows)
    for (const std::string& failure : row.failures)
      text += fmt::format("{}{}, {}", text.empty() ? "" : "; ", row.row.title, failure);
  return text;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> report_notes(const Report& report) {
  std::vector<std::pair<std::string, std::string>> all;
  if (!report.incomplete.empty()) all.emplace_back("INCOMPLETE", report.incomplete);
  if (const std::string failed = failures_text(report); !failed.empty()) all.emplace_back("Failed", failed);
  all.insert(all.end(), report.caption.begin(), report.caption.end());
  return all;
}

ReportTable report_table(const Report& report) {
  ReportTable table{
      .header = {}, .cells = cells_of(report), .minor = {}, .keep = {"pool", report.metric.label + " last, %"}};
  std::vector<Column> all = columns(report);
  for (const Column& column : all) table.header.emplace_back(column.name);
  std::erase_if(all, [](const Column& column) { return column.minor == 0; });
  std::stable_sort(all.begin(), all.end(), [](const Column& a, const Column& b) { return a.minor > b.minor; });
  for (const Column& column : all) table.minor.emplace_back(column.name);
  return table;
}

std::string interval_reason(const ReportRow& row) {
  if (row.row.baseline.empty()) return "baseline";
  if (!row.difference) return "no runs";
  if (row.same_runs) return "same runs";
  if (row.difference->interval) return "";
  return row.difference->n < 2 ? "one seed" : "no spread";
}

Report make_report(const TablePlan& plan, const std::vector<RunOutcome>& outcomes, const ReportFacts& facts) {
  Report report{.title = fmt::format("{} ({}): {}", plan.table->heading, plan.scale.name, plan.table->title),
                .caption = {},
                .scale = plan.scale.name,
                .data_set = plan.runs.front().config.data.name,
                .metric = plan.metric(),
                .rows = {},
                .fidelity = plan.table->fidelity,
                .incomplete = {}};
  std::map<std::string, std::map<uint64_t, double>> values;  // of the metric, by row name, then seed
  std::map<std::string, std::map<uint64_t, size_t>> done;    // the same: index into plan.runs
  std::vector<const Config*> shown;                          // by row of the report: of its first seed
  std::string missing_rows;
  int64_t missing = 0, asked = 0;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    ReportRow row{.row = plan.rows[i], .wanted = plan.options.seeds};
    bool selected = false;
    int64_t missing_before = missing;
    const Config* config = nullptr;
    std::vector<double> last, best, gmacs, parameters, step_ms, peak;
    for (size_t k = 0; k < plan.runs.size(); ++k) {
      const PlannedRun& run = plan.runs[k];
      if (run.row != i) continue;
      if (!config) config = &run.config;
      selected = selected || run.selected;
      const RunOutcome& outcome = outcomes[k];
      if (run.selected) ++asked;
      if (!outcome.result) {
        if (run.selected) ++missing;
        if (!outcome.failure.empty()) row.failures.push_back(fmt::format("seed {}: {}", run.seed, outcome.failure));
        continue;
      }
      const RunResult& r = *outcome.result;
      row.seeds.emplace_back(run.seed, r);
      done[row.row.name][run.seed] = k;
      if (const auto value = r.metric_last()) {
        last.push_back(*value);
        values[row.row.name][run.seed] = *value;
      }
      if (r.best) best.push_back(*r.best);
      gmacs.push_back(r.gmacs);
      parameters.push_back(static_cast<double>(r.parameters));
      if (r.steps > 0) step_ms.push_back(1000 * r.seconds / static_cast<double>(r.steps));
      peak.push_back(static_cast<double>(r.peak_bytes));
      for (size_t p = 0; p < r.shapes.size(); ++p) {
        const auto& [slot, size] = r.shapes[p];
        if (p == row.shapes.size()) row.shapes.push_back({.slot = slot});
        row.shapes[p].height += static_cast<double>(size[0]);
        row.shapes[p].width += static_cast<double>(size[size.rank() - 1]);
      }
    }
    for (ReportShape& s : row.shapes) {
      s.height /= static_cast<double>(row.seeds.size());
      s.width /= static_cast<double>(row.seeds.size());
    }
    if (const auto found = facts.fidelity.find(row.row.name); found != facts.fidelity.end())
      row.fidelity = found->second;
    row.last = summarize(last);
    row.best = summarize(best);
    row.gmacs = summarize(gmacs);
    row.parameters = summarize(parameters);
    row.step_ms = summarize(step_ms);
    row.peak_bytes = summarize(peak);
    if (missing > missing_before)
      missing_rows +=
          fmt::format("{}{}{}", missing_rows.empty() ? "" : ", ", row.row.title,
                      row.wanted == 1 ? "" : fmt::format(" ({} of {})", missing - missing_before, row.wanted));
    if (!selected && row.seeds.empty()) continue;
    shown.push_back(config);
    report.rows.push_back(std::move(row));
  }
  std::vector<std::string> baselines;
  for (ReportRow& row : report.rows) {
    if (row.row.baseline.empty()) continue;
    row.difference = paired_difference(values[row.row.name], values[row.row.baseline]);
    const auto& theirs = done[row.row.baseline];
    row.same_runs = row.difference.has_value();
    for (const auto& [seed, k] : done[row.row.name])
      if (const auto other = theirs.find(seed); row.same_runs && other != theirs.end())
        row.same_runs =
            same_function(plan.runs[k], *outcomes[k].result, plan.runs[other->second], *outcomes[other->second].result);
    for (const Row& planned : plan.rows)
      if (planned.name == row.row.baseline &&
          std::find(baselines.begin(), baselines.end(), planned.pool) == baselines.end())
        baselines.push_back(planned.pool);
  }
  const auto any_without = [&](const char* reason) {
    return std::any_of(report.rows.begin(), report.rows.end(),
                       [&](const ReportRow& row) { return interval_reason(row) == reason; });
  };

  if (missing > 0) report.incomplete = fmt::format("{} of {} runs are missing: {}", missing, asked, missing_rows);
  const int64_t seeds = plan.options.seeds;
  const std::string& metric = report.metric.label;
  report.caption = {
      {"Scale", scale_text(plan, shown)},
      {"Data", facts.data},
      {"Variants", variants_text(report, shown)},
      {"Seeds", seeds == 1 ? std::string("1 (seed 1); one seed supports no claim about a difference")
                           : fmt::format("{} (1 to {}); mean {} standard deviation", seeds, seeds, kPlusMinus)},
      {"Columns",
       fmt::format("{} of the test images with the weights after the last epoch, and with those of the epoch that is "
                   "best on the validation part; ",
                   metric) +
           (baselines.empty()
                ? std::string()
                : fmt::format("difference of {} last in points to {} on the same data, paired by seed, with its 95% "
                              "interval (Student's t); ",
                              metric, fmt::join(baselines, ", "))) +
           (any_without("same runs")
                ? "same runs: in every seed the weights that both have, the map sizes and the test loss are, bit for "
                  "bit, those of the row it is compared with: the trained networks are the same function; "
                : "") +
           (any_without("no spread") ? fmt::format("no spread: other weights whose {} differs by the same amount in "
                                                   "every seed, from which no interval follows; ",
                                                   metric)
                                     : std::string()) +
           "GMACs of one image with the final shapes; ms of a training step; final shapes after each resize slot, "
           "height x width" +
           (seeds > 1 ? ", mean over the seeds" : "")},
  };
  if (!plan.options.sets.empty())
    report.caption.insert(report.caption.begin() + 1,
                          {"Settings", fmt::format("changed by --set: {}", fmt::join(plan.options.sets, "; "))});
  if (const std::string repeated = repeated_text(report, shown); !repeated.empty())
    report.caption.emplace_back("Repeated", repeated);
  if (report.fidelity)
    report.caption.emplace_back(
        "Fidelity",
        "of the test images, each pooled by 2 by the operator at its initial value and enlarged again (bilinear): PSNR "
        "of "
        "the mean squared error over all of them, mean SSIM (Wang et al. 2004) over windows and channels");
  if (plan.table->caption)
    for (auto& note : plan.table->caption(shown)) report.caption.push_back(std::move(note));
  std::vector<const Config*> penalised;
  for (const Config* config : shown)
    if (config->loss.gmacs_lambda > 0) penalised.push_back(config);
  const bool by_width = std::all_of(penalised.begin(), penalised.end(), [](const Config* c) {
    return std::abs(c->loss.gmacs_lambda * c->model.width * c->model.width - 0.1) < 1e-9;
  });
  if (!penalised.empty())
    report.caption.emplace_back(
        "Lambda", by_width ? "weight of the GMACs penalty: 0.1 / width^2, so that it weighs as much beside the "
                             "loss as 0.1 in the network of width 1"
                           : "weight of the GMACs penalty");
  const auto threads = [](const Json& p) {
    return p.contains("threads") ? fmt::format("threads per run {}", p.at("threads").dump()) : std::string();
  };
  const auto revision = [](const Json& p) {
    return p.contains("revision") && p.at("revision").is_string() && p.contains("version")
               ? fmt::format("{} (tidepool {})", p.at("revision").get<std::string>(), p.value("version", ""))
               : std::string();
  };
  report.caption.emplace_back(
      "Machine",
      facts.machine + (facts.threads > 0 ? earlier_text(plan, outcomes, threads({{"threads", facts.threads}}), threads)
                                         : std::string()));
  report.caption.emplace_back("Revision", (facts.revision.empty() ? "not known" : facts.revision) +
                                              earlier_text(plan, outcomes, facts.revision, revision));
  report.caption.emplace_back(kCommand, facts.command);
  return report;
}

std::string report_markdown(const Report& report) {
  std::vector<std::vector<std::string>> cells = cells_of(report);
  std::vector<size_t> wide;
  const std::vector<Column> shown = columns(report);
  for (const Column& column : shown) wide.push_back(std::max<size_t>(3, characters(column.name)));
  for (auto& line : cells)
    for (size_t i = 0; i < line.size(); ++i) {
      line[i] = escape_markdown(line[i]);
      wide[i] = std::max(wide[i], characters(line[i]));
    }
  std::string text = fmt::format("# {}\n\n", escape_markdown(report.title));
  const auto add = [&](size_t i, const std::string& cell) {
    const std::string pad(wide[i] - characters(cell), ' ');
    text += fmt::format("| {} ", shown[i].number ? pad + cell : cell + pad);
  };
  for (size_t i = 0; i < wide.size(); ++i) add(i, shown[i].name);
  text += "|\n";
  for (size_t i = 0; i < wide.size(); ++i)
    text += shown[i].number ? fmt::format("|{}:", std::string(wide[i] + 1, '-'))
                            : fmt::format("|{}", std::string(wide[i] + 2, '-'));
  text += "|\n";
  for (const auto& line : cells) {
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
      "scale,data_set,data,model,pool,lambda,seeds,{0}_last_mean,{0}_last_std,{0}_best_mean,{0}_best_std,"
      "gmacs_mean,gmacs_std,parameters,step_ms_mean,step_ms_std,peak_bytes_mean,paired_difference,interval_low,"
      "interval_high,interval_reason,shapes",
      report.metric.name);
  text += report.fidelity ? ",psnr,ssim\n" : "\n";
  for (const ReportRow& row : report.rows) {
    const auto mean = [](const std::optional<Summary>& s) { return csv_number(summary_json(s, false)); };
    const auto deviation = [](const std::optional<Summary>& s) { return csv_number(summary_json(s, true)); };
    const bool interval = interval_reason(row).empty();
    std::vector<std::string> cells{
        report.scale,
        report.data_set,
        row.row.data,
        row.row.model,
        row.row.pool,
        fmt::format("{}", row.row.lambda),
        std::to_string(seeds_of(row)),
        mean(row.last),
        deviation(row.last),
        mean(row.best),
        deviation(row.best),
        mean(row.gmacs),
        deviation(row.gmacs),
        mean(row.parameters),
        mean(row.step_ms),
        deviation(row.step_ms),
        mean(row.peak_bytes),
        row.difference ? csv_number(row.difference->mean) : "",
        interval ? csv_number(row.difference->interval->first) : "",
        interval ? csv_number(row.difference->interval->second) : "",
        interval_reason(row),
        row.shapes.empty() ? "" : shapes_text(row),
    };
    if (report.fidelity) {
      cells.push_back(csv_number(psnr_json(row)));
      cells.push_back(csv_number(ssim_json(row)));
    }
    for (size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) text += ',';
      text += escape_csv(cells[i]);
    }
    text += '\n';
  }
  return text;
}

std::string report_latex(const Report& report) {
  std::string format, header;
  for (const Column& column : columns(report)) {
    format += column.number ? 'r' : 'l';
    if (!header.empty()) header += " & ";
    header += escape_latex(column.name);
  }
  std::string text = fmt::format(
      "% Written by tidepool.\n\\begin{{table}}\n\\centering\n\\footnotesize\n\\begin{{tabular}}{{{}}}\n\\hline\n{} "
      "\\\\\n\\hline\n",
      format, header);
  const auto cells = cells_of(report);
  for (size_t r = 0; r < cells.size(); ++r) {
    if (r > 0 && report.rows[r].row.data != report.rows[r - 1].row.data) text += "\\hline\n";
    for (size_t i = 0; i < cells[r].size(); ++i) {
      if (i > 0) text += " & ";
      text += escape_latex(cells[r][i]);
    }
    text += " \\\\\n";
  }
  text += "\\hline\n\\end{tabular}\n\\caption{" + escape_latex(report.title) + ".";
  for (const auto& [what, note] : report_notes(report))
    text += fmt::format(" {}: {}{}{}.", escape_latex(what), what == kCommand ? "\\texttt{" : "", escape_latex(note),
                        what == kCommand ? "}" : "");
  return text + "}\n\\end{table}\n";
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
    rows.push_back({{"name", row.row.name},
                    {"data", row.row.data},
                    {"model", row.row.model},
                    {"pool", row.row.pool},
                    {"lambda", row.row.lambda},
                    {"seeds", seeds_of(row)},
                    {metric + "_mean", summary_json(row.last, false)},
                    {metric + "_std", summary_json(row.last, true)},
                    {metric + "_best_mean", summary_json(row.best, false)},
                    {metric + "_best_std", summary_json(row.best, true)},
                    {"gmacs_mean", summary_json(row.gmacs, false)},
                    {"gmacs_std", summary_json(row.gmacs, true)},
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
                    {"failures", row.failures},
                    {"runs", runs}});
  }
  Json caption = Json::object();
  for (const auto& [what, help] : report.caption) caption[what] = help;
  return {{"title", report.title},
          {"scale", report.scale},
          {"data_set", report.data_set},
          {"metric", metric},
          {"complete", report.incomplete.empty()},
          {"rows", rows},
          {"caption", caption}};
}

void write_report(const Report& report, const fs::path& folder, const std::string& name) {
  make_folder(folder, "--out");
  write_file_atomically(folder / (name + ".md"), report_markdown(report));
  write_file_atomically(folder / (name + ".csv"), report_csv(report));
  write_file_atomically(folder / (name + ".tex"), report_latex(report));
  write_file_atomically(folder / (name + ".html"), report_html(report, folder));
}

}  // namespace tidepool
