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
#include "train/gmacs_term.h"
#include "train/report_columns.h"
#include "train/row_labels.h"

namespace tidepool {
namespace fs = std::filesystem;
namespace {

std::string number_or(const std::optional<int64_t>& n, const char* otherwise) {
  return n ? std::to_string(*n) : std::string(otherwise);
}

// 16, but 15.7
std::string length_text(double length) {
  return length == std::round(length) ? fmt::format("{:.0f}", length) : fmt::format("{:.1f}", length);
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
std::string scale_text(const TablePlan& plan, const Report& report, std::span<const Config* const> shown) {
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
  std::vector<const Config*> learning;
  for (size_t i = 0; i < shown.size(); ++i)
    if (report.rows[i].row.learns_shape) learning.push_back(shown[i]);
  if (!learning.empty())
    text += fmt::format(
        "; shape parameters: {}", each(learning, [](const Config& c) {
          const GroupSettings& g = *shape_group(c);
          const ShapeSettings& s = *c.optim.shape;
          std::string one = fmt::format("learning rate {:g}, frozen until epoch {}", g.lr, g.first_epoch);
          if (g.last_epoch) one += fmt::format(" and from epoch {} on", *g.last_epoch);
          if (s.learner.type != "gradient") one += fmt::format(", learned by {}", s.learner.type);
          if (s.log) one += ", in logarithms";
          if (s.normalize) one += ", gradients over their root mean square";
          if (s.retrain_after)
            one += fmt::format(", fixed after epoch {}, where the weights are re-initialised", *s.retrain_after);
          return one;
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

// "Table 1 (quick): ...", "Mine (quick)".
std::string title_text(const std::string& title, const std::string& scale) {
  const size_t colon = title.find(": ");
  if (colon == std::string::npos) return fmt::format("{} ({})", title, scale);
  return fmt::format("{} ({}){}", title.substr(0, colon), scale, title.substr(colon));
}

// "tab:table1-quick", of characters that a \\label may have: a table's file can have any name.
std::string label_text(std::string stem, const std::string& scale) {
  for (char& c : stem)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != ':') c = '-';
  return fmt::format("tab:{}-{}", stem, scale);
}

// What a row is compared with: the labels in which its baseline differs, or the baseline's name.
std::string baseline_text(const TablePlan& plan, const Row& baseline) {
  std::vector<std::string> labels;
  for (const auto& [column, planned] : plan.table.baseline)
    for (const auto& [name, label] : baseline.labels)
      if (name == column) labels.push_back(label);
  return labels.empty() ? baseline.title : fmt::format("{}", fmt::join(labels, "-"));
}

// "a, b, c and 7 more"
std::string some_names(const std::vector<std::string>& names) {
  constexpr size_t kShown = 12;
  const auto end = names.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, names.size()));
  const std::string shown = fmt::format("{}", fmt::join(names.begin(), end, ", "));
  return names.size() > kShown ? fmt::format("{} and {} more", shown, names.size() - kShown) : shown;
}

// What the columns that are shown hold.
std::string columns_text(const Report& report, const std::vector<std::string>& baselines) {
  const std::string &label = report.metric.label, &name = report.metric.name;
  const auto shown = [&](const std::string& column) {
    return std::find(report.columns.begin(), report.columns.end(), column) != report.columns.end();
  };
  const auto any_without = [&](const char* reason) {
    return std::any_of(report.rows.begin(), report.rows.end(),
                       [&](const ReportRow& row) { return interval_reason(row) == reason; });
  };
  std::vector<std::string> all;
  if (shown(name + "_last"))
    all.push_back(fmt::format("{} last: of the test images with the weights after the last epoch", label));
  if (shown(name + "_best"))
    all.push_back(fmt::format("{} best: with those of the epoch that is best on the validation part", label));
  if (shown("difference") && !baselines.empty()) {
    all.push_back(
        fmt::format("difference of {} last in points to {}, paired by seed, with its 95% interval (Student's t)", label,
                    fmt::join(baselines, ", ")));
    if (any_without("same runs"))
      all.emplace_back(
          "same runs: in every seed the weights that both have, the map sizes and the test loss are, bit for bit, "
          "those "
          "of the row it is compared with: the trained networks are the same function");
    if (any_without("no spread"))
      all.push_back(fmt::format(
          "no spread: {} differs by the same amount in every seed, from which no interval follows; that the "
          "networks are the same function only their weights can say, where they are kept",
          label));
  }
  if (shown("gmacs")) all.emplace_back("GMACs of one image with the final shapes");
  if (shown("step_ms")) all.emplace_back("ms of a training step");
  if (shown("peak_bytes")) all.emplace_back("peak: memory of tensors in training");
  if (shown("shapes"))
    all.push_back(fmt::format(
        "final shapes after each resize slot, height x width{}",
        std::any_of(report.rows.begin(), report.rows.end(), [](const ReportRow& row) { return row.wanted > 1; })
            ? ", mean over the seeds"
            : ""));
  return fmt::format("{}", fmt::join(all, "; "));
}

// Figures of others: those of rows that are shown get a number, by which the note names their source.
void add_published(const TablePlan& plan, Report& report) {
  std::vector<std::string> notes;
  for (const PublishedFigure& figure : plan.table.published) {
    const std::string number = fmt::format("[{}]", notes.size() + 1);
    bool used = figure.rows.empty();
    for (ReportRow& row : report.rows)
      if (matches_any(figure.rows, row.row.name)) {
        row.published += fmt::format("{}{} {}", row.published.empty() ? "" : ", ", figure.value, number);
        used = true;
      }
    if (used) notes.push_back(fmt::format("{} {}: {} ({})", number, figure.value, figure.what, figure.source));
  }
  if (!notes.empty())
    report.caption.emplace_back(
        "Published", fmt::format("{} of others, by their own recipes at full size, in percent: {}", report.metric.label,
                                 fmt::join(notes, "; ")));
}

std::string failures_text(const Report& report) {
  std::string text;
  for (const ReportRow& row : report.rows)
    for (const std::string& failure : row.failures)
      text += fmt::format("{}{}, {}", text.empty() ? "" : "; ", row.row.title, failure);
  return text;
}

}  // namespace

int64_t row_seeds(const ReportRow& row) {
  return row.last ? row.last->n : 0;
}

std::string row_shapes_text(const ReportRow& row) {
  std::string text;
  for (const ReportShape& s : row.shapes)
    text += fmt::format("{}{}x{}", text.empty() ? "" : " ", length_text(s.height), length_text(s.width));
  return text.empty() ? "-" : text;
}

std::vector<std::pair<std::string, std::string>> report_notes(const Report& report) {
  std::vector<std::pair<std::string, std::string>> all;
  if (!report.incomplete.empty()) all.emplace_back("INCOMPLETE", report.incomplete);
  if (const std::string failed = failures_text(report); !failed.empty()) all.emplace_back("Failed", failed);
  all.insert(all.end(), report.caption.begin(), report.caption.end());
  return all;
}

ReportTable report_table(const Report& report) {
  ReportTable table;
  std::vector<ReportColumn> all = report_columns(report);
  for (const ReportColumn& column : all) {
    table.header.push_back(column.header);
    table.numbers.push_back(column.number);
  }
  for (const ReportRow& row : report.rows) {
    auto& line = table.cells.emplace_back();
    for (const ReportColumn& column : all) line.push_back(column.cell(row));
  }
  if (!report.labels.empty()) table.keep.push_back(report.labels.back());
  table.keep.push_back(report.metric.label + " last, %");
  std::erase_if(all, [](const ReportColumn& column) { return column.minor == 0; });
  std::stable_sort(all.begin(), all.end(),
                   [](const ReportColumn& a, const ReportColumn& b) { return a.minor > b.minor; });
  for (const ReportColumn& column : all) table.minor.push_back(column.header);
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
  Report report{.title = title_text(plan.table.title, plan.scale.name),
                .label = label_text(plan.table.stem(), plan.scale.name),
                .caption = {},
                .scale = plan.scale.name,
                .metric = plan.metric(),
                .rows = {},
                .labels = {},
                .columns = plan.columns,
                .incomplete = {},
                .short_command = facts.short_command.empty() ? facts.command : facts.short_command};
  for (const auto& [column, label] : plan.rows.front().labels) report.labels.push_back(column);
  std::map<std::string, std::map<uint64_t, double>> values;  // of the metric, by row name, then seed
  std::map<std::string, std::map<uint64_t, size_t>> done;    // the same: index into plan.runs
  std::vector<const Config*> shown;                          // by row of the report: of its first seed
  std::vector<std::string> not_selected;
  std::string missing_rows;
  int64_t missing = 0, asked = 0;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    ReportRow row{.row = plan.rows[i], .data_set = plan.runs[i].config.data.name, .wanted = plan.options.seeds};
    bool selected = false;
    int64_t missing_before = missing;
    const Config* config = nullptr;
    std::vector<double> last, best, validation, gmacs, parameters, step_ms, peak;
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
      if (r.validation_last) validation.push_back(*r.validation_last);
      gmacs.push_back(r.gmacs);
      if (r.gmacs_target)
        row.equal_cost =
            row.equal_cost.value_or(true) && std::abs(r.gmacs / *r.gmacs_target - 1) <= GmacsTerm::kEqualCost;
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
    if (const auto found = facts.costs.find(row.row.name); found != facts.costs.end()) row.cost = found->second;
    row.last = summarize(last);
    row.best = summarize(best);
    row.validation = summarize(validation);
    row.gmacs = summarize(gmacs);
    row.parameters = summarize(parameters);
    row.step_ms = summarize(step_ms);
    row.peak_bytes = summarize(peak);
    if (missing > missing_before)
      missing_rows +=
          fmt::format("{}{}{}", missing_rows.empty() ? "" : ", ", row.row.title,
                      row.wanted == 1 ? "" : fmt::format(" ({} of {})", missing - missing_before, row.wanted));
    if (!selected && row.seeds.empty()) {
      not_selected.push_back(row.row.title);
      continue;
    }
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
      if (const std::string text = baseline_text(plan, planned);
          planned.name == row.row.baseline && std::find(baselines.begin(), baselines.end(), text) == baselines.end())
        baselines.push_back(text);
  }
  if (missing > 0) report.incomplete = fmt::format("{} of {} runs are missing: {}", missing, asked, missing_rows);
  const int64_t seeds = plan.options.seeds, first = plan.options.first_seed;
  report.caption = {
      {"Scale", scale_text(plan, report, shown)},
      {"Data", facts.data},
      {"Variants", variants_text(report, shown)},
      {"Seeds", seeds == 1 ? fmt::format("1 (seed {}); one seed supports no claim about a difference", first)
                           : fmt::format("{} ({} to {}); mean {} standard deviation", seeds, first, first + seeds - 1,
                                         kPlusMinus)},
      {"Columns", columns_text(report, baselines)},
  };
  std::vector<std::string> settings = plan.options.sets;  // the command has the places on this machine
  std::erase_if(settings, [](const std::string& set) { return set.find('/') != std::string::npos; });
  if (!settings.empty())
    report.caption.insert(report.caption.begin() + 1,
                          {"Settings", fmt::format("changed by --set: {}", fmt::join(settings, "; "))});
  if (const std::string repeated = repeated_text(report, shown); !repeated.empty())
    report.caption.emplace_back("Repeated", repeated);
  if (!facts.fidelity.empty())
    report.caption.emplace_back(
        "Fidelity",
        "of the test images, each pooled by the operator at its initial value and enlarged again (bilinear): PSNR of "
        "the mean squared error over all of them, mean SSIM (Wang et al. 2004) over windows and channels");
  if (!facts.costs.empty())
    report.caption.emplace_back(
        "Cost",
        "forward and backward of the operator alone, on the CPU, on the map of the first slot that it "
        "fills, one batch in f32; bytes that it keeps for the backward, per element of that map");
  std::vector<std::string> operators;
  for (const Config* config : shown)
    if (std::string text = pool_text(config->model.pool);
        std::find(operators.begin(), operators.end(), text) == operators.end())
      operators.push_back(std::move(text));
  report.caption.emplace_back("Operators",
                              fmt::format("with the keys that are not their defaults: {}", fmt::join(operators, "; ")));
  if (!plan.table.caption.empty()) report.caption.emplace_back("Note", plan.table.caption);
  if (!not_selected.empty())
    report.caption.emplace_back("Not run",
                                fmt::format("{} rows of the table: {}", not_selected.size(), some_names(not_selected)));
  std::vector<const Config*> penalised;
  for (const Config* config : shown)
    if (config->loss.gmacs_lambda > 0) penalised.push_back(config);
  if (!penalised.empty())
    report.caption.emplace_back(
        "Lambda", fmt::format("weight of the GMACs penalty ({}), {}",
                              each(penalised, [](const Config& c) { return fmt::format("{:g}", c.loss.gmacs_lambda); }),
                              each(penalised, [](const Config& c) {
                                return std::string(c.loss.gmacs_unit == GmacsUnit::kInitial
                                                       ? "in units of its value at step 0"
                                                       : "per 1e9 multiply-adds of one image");
                              })));
  std::vector<const Config*> budgeted;
  for (const Config* config : shown)
    if (config->loss.gmacs_target) budgeted.push_back(config);
  if (!budgeted.empty())
    report.caption.emplace_back("Equal cost",
                                fmt::format("rows with a budget of {} are of equal cost where the GMACs at the end are "
                                            "within {:g}% of it, in every seed; "
                                            "{} beside the GMACs marks a row that is not",
                                            each(budgeted,
                                                 [](const Config& c) {
                                                   return c.loss.target_is_initial()
                                                              ? std::string("what the network costs at step 0")
                                                              : fmt::format("{:g}", *c.loss.gmacs_target);
                                                 }),
                                            100 * GmacsTerm::kEqualCost, kUnequalCost));
  add_published(plan, report);
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
  report.caption.emplace_back("Command", facts.command);
  return report;
}

void write_report(const Report& report, const fs::path& folder, const std::string& name) {
  make_folder(folder, "--out");
  write_file_atomically(folder / (name + ".md"), report_markdown(report));
  write_file_atomically(folder / (name + ".csv"), report_csv(report));
  write_file_atomically(folder / (name + ".tex"), report_latex(report));
  write_file_atomically(folder / (name + ".html"), report_html(report, folder));
}

}  // namespace tidepool
