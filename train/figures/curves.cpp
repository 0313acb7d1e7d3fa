#include "train/figures/curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "core/error.h"
#include "train/statistics.h"

namespace tidepool::figures {
namespace {

constexpr int kPoints = 240;  // of a curve at most; more steps are averaged

using Values = std::map<double, std::vector<double>>;  // x -> one value per seed

// Where step `step` of a run stands on the x axis.
double position(const RunRecord& run, double step, bool steps) {
  return steps ? step : step / static_cast<double>(*run.steps_per_epoch());
}

// Means over the seeds, with one standard deviation around them where there is more than one seed.
Series series_of(const Values& values, const Look& look) {
  Series s;
  s.look = look;
  bool band = false;
  for (const auto& [x, seeds] : values) {
    const Summary summary = *summarize(seeds);
    const double deviation = summary.deviation.value_or(0);
    band = band || summary.deviation;
    s.points.push_back({x, summary.mean});
    s.y_range.emplace_back(summary.mean - deviation, summary.mean + deviation);
  }
  if (!band) s.y_range.clear();
  return s;
}

// A number of every step, averaged over equal stretches of steps; each stretch stands at its middle.
Values step_values(const RunGroup& group, int64_t stretch, bool steps, double LoggedStep::*member) {
  Values values;
  for (const RunRecord& run : group.runs) {
    std::map<int64_t, std::pair<double, int64_t>> sums;
    for (const LoggedStep& s : run.steps) {
      auto& [sum, n] = sums[(s.step - 1) / stretch];
      sum += s.*member;
      ++n;
    }
    for (const auto& [k, sum] : sums)
      values[position(run, static_cast<double>(k * stretch) + 0.5 * static_cast<double>(stretch + 1), steps)].push_back(
          sum.first / static_cast<double>(sum.second));
  }
  return values;
}

Values evaluation_values(const RunGroup& group, const std::string& key, bool steps, double unit) {
  Values values;
  for (const RunRecord& run : group.runs)
    for (const LoggedEvaluation& e : run.evaluations)
      if (const auto found = e.values.find(key); found != e.values.end())
        values[position(run, static_cast<double>(e.step), steps)].push_back(found->second * unit);
  return values;
}

int64_t last_step(std::span<const RunGroup> groups) {
  int64_t last = 0;
  for (const RunGroup& group : groups)
    for (const RunRecord& run : group.runs) last = std::max(last, run.steps.back().step);
  return last;
}

struct CurveContext {
  std::span<const RunGroup> groups;
  bool steps;
  int64_t stretch;
  std::string x_label;
};

bool any_evaluation(const CurveContext& c, const std::string& key) {
  for (const RunGroup& group : c.groups)
    for (const RunRecord& run : group.runs)
      for (const LoggedEvaluation& e : run.evaluations)
        if (e.values.contains(key)) return true;
  return false;
}

std::vector<Panel> step_panel(const CurveContext& c, const char* title, const char* label, double LoggedStep::*member) {
  Panel panel{.title = title, .x_label = c.x_label, .y_label = label};
  for (size_t i = 0; i < c.groups.size(); ++i)
    panel.series.push_back(series_of(step_values(c.groups[i], c.stretch, c.steps, member), look(i)));
  return {panel};
}

std::vector<Panel> loss_panels(const CurveContext& c) {
  std::vector<Panel> panels = step_panel(c, "Training loss", "task loss", &LoggedStep::task_loss);
  for (const auto& [prefix, title] : {std::pair{"val_", "Validation loss"}, {"test_", "Test loss"}}) {
    const std::string key = std::string(prefix) + "loss";
    if (!any_evaluation(c, key)) continue;
    Panel panel{.title = title, .x_label = c.x_label, .y_label = "task loss"};
    for (size_t i = 0; i < c.groups.size(); ++i)
      panel.series.push_back(series_of(evaluation_values(c.groups[i], key, c.steps, 1), look(i)));
    panels.push_back(std::move(panel));
  }
  return panels;
}

std::vector<Panel> accuracy_panels(const CurveContext& c) {
  const Metric& metric = c.groups.front().runs.front().task->primary();
  std::vector<Panel> panels;
  for (const auto& [prefix, images] : {std::pair{"val_", "validation part"}, {"test_", "test images"}}) {
    if (!any_evaluation(c, prefix + metric.name)) continue;
    Panel panel{.title = fmt::format("{}, {}", metric.label, images),
                .x_label = c.x_label,
                .y_label = metric.label + ", %",
                .series = {},
                .least = 0,
                .most = 100};
    for (size_t i = 0; i < c.groups.size(); ++i)
      panel.series.push_back(series_of(evaluation_values(c.groups[i], prefix + metric.name, c.steps, 100), look(i)));
    panels.push_back(std::move(panel));
  }
  return panels;
}

std::vector<Panel> penalty_panels(const CurveContext& c) {
  for (const RunGroup& group : c.groups)
    for (const RunRecord& run : group.runs)
      if (std::any_of(run.steps.begin(), run.steps.end(),
                      [&](const LoggedStep& s) { return s.gmacs_loss != run.steps.front().gmacs_loss; }))
        return step_panel(c, "GMACs term of the loss, before its factor", "GMACs term", &LoggedStep::gmacs_loss);
  return {};
}

// The names of shapes.csv, in its order: sizes, or parameters.
std::vector<std::string> shape_names(std::span<const RunGroup> groups, bool sizes) {
  std::vector<std::string> names;
  for (const RunGroup& group : groups)
    for (const ShapePath& path : group.runs.front().shapes)
      if (path.name.ends_with(".size") == sizes && std::find(names.begin(), names.end(), path.name) == names.end())
        names.push_back(path.name);
  return names;
}

bool moves(std::span<const RunGroup> groups, const std::string& name) {
  for (const RunGroup& group : groups)
    for (const RunRecord& run : group.runs)
      for (const ShapePath& path : run.shapes)
        if (path.name == name)
          for (const auto& [step, value] : path.points)
            if (value != path.points.front().second) return true;
  return false;
}

std::vector<Panel> shape_panels(const CurveContext& c, bool sizes) {
  std::vector<Panel> panels;
  for (const std::string& name : shape_names(c.groups, sizes)) {
    if (!moves(c.groups, name)) continue;
    Panel panel = shape_panel(c.groups, name, c.steps);
    panel.x_label = c.x_label;
    panel.whole_y = sizes;
    panels.push_back(std::move(panel));
  }
  return panels;
}

struct PanelKind {
  const char* name;
  std::vector<Panel> (*panels)(const CurveContext&);
};
const PanelKind kKinds[] = {
    {"loss", loss_panels},
    {"accuracy", accuracy_panels},
    {"lr", [](const CurveContext& c) { return step_panel(c, "Learning rate", "learning rate", &LoggedStep::lr); }},
    {"penalty", penalty_panels},
    {"shapes", [](const CurveContext& c) { return shape_panels(c, false); }},
    {"sizes", [](const CurveContext& c) { return shape_panels(c, true); }},
};

std::string note(std::span<const RunGroup> groups, int64_t stretch, bool shapes) {
  size_t least = groups.front().runs.size(), most = least;
  for (const RunGroup& group : groups) {
    least = std::min(least, group.runs.size());
    most = std::max(most, group.runs.size());
  }
  std::string text = most == 1
                         ? std::string("One seed per curve.")
                         : fmt::format("Mean over {} seeds; the band is one standard deviation to each side.",
                                       least == most ? fmt::format("{}", most) : fmt::format("{} to {}", least, most));
  if (stretch > 1) text += fmt::format(" Numbers of single steps are averaged over {} steps.", stretch);
  if (shapes) text += " Shapes: a line per seed, solid for the height, dashed for the width.";
  return text;
}

}  // namespace

const std::vector<std::string>& curve_panels() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const PanelKind& kind : kKinds) all.emplace_back(kind.name);
    return all;
  }();
  return names;
}

bool counts_epochs(std::span<const RunGroup> groups) {
  for (const RunGroup& group : groups)
    for (const RunRecord& run : group.runs)
      if (!run.steps_per_epoch()) return false;
  return true;
}

Panel shape_panel(std::span<const RunGroup> groups, const std::string& name, bool steps) {
  Panel panel{.title = name, .x_label = {}, .y_label = {}, .series = {}};
  for (size_t i = 0; i < groups.size(); ++i)
    for (const RunRecord& run : groups[i].runs)
      for (const ShapePath& path : run.shapes) {
        if (path.name != name) continue;
        Series s;
        s.look = {.colour = look(i).colour,
                  .dash = path.index == 1 ? std::vector<double>{4, 2.5} : std::vector<double>{}};
        s.width = 1.5;
        s.strength = groups[i].runs.size() > 1 ? 0.75 : 1;
        for (const auto& [step, value] : path.points)
          s.points.push_back({position(run, static_cast<double>(step), steps), value});
        panel.series.push_back(std::move(s));
      }
  return panel;
}

Drawing draw_curves(std::span<const RunGroup> groups, const CurveOptions& options) {
  for (const RunGroup& group : groups)
    for (const RunRecord& run : group.runs)
      if (run.steps.empty()) throw Error("{}: no step is logged yet", (run.folder / "log.jsonl").string());
  const CurveContext context{.groups = groups,
                             .steps = options.steps || !counts_epochs(groups),
                             .stretch = (last_step(groups) + kPoints - 1) / kPoints,
                             .x_label = options.steps || !counts_epochs(groups) ? "step" : "epoch"};
  Sheet sheet{.title = options.title, .columns = options.columns};
  bool shapes = false;
  for (const PanelKind& kind : kKinds) {
    const bool asked = std::find(options.panels.begin(), options.panels.end(), kind.name) != options.panels.end();
    if (!asked && !options.panels.empty()) continue;
    std::vector<Panel> panels = kind.panels(context);
    if (asked && panels.empty()) throw Error("--panels: these runs have nothing for '{}'", kind.name);
    shapes = shapes ||
             (!panels.empty() && (std::string_view(kind.name) == "shapes" || std::string_view(kind.name) == "sizes"));
    for (Panel& panel : panels) sheet.panels.push_back(std::move(panel));
  }
  for (size_t i = 0; i < groups.size(); ++i) sheet.legend.push_back({groups[i].label, look(i)});
  sheet.note = note(groups, context.stretch, shapes);
  return draw_sheet(sheet);
}

}  // namespace tidepool::figures
