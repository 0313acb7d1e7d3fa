#include "train/figures/pareto.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/error.h"
#include "train/statistics.h"

namespace tidepool::figures {
namespace {

struct ParetoPoint {
  std::string label, operators;
  Summary gmacs, metric;  // the metric in percent
  std::pair<double, double> gmacs_range;
};

struct ParetoPanel {
  std::string title;
  std::vector<ParetoPoint> points = {};
};

std::pair<double, double> interval(const Summary& s) {
  if (!s.deviation) return {s.mean, s.mean};
  const auto n = static_cast<double>(s.n);
  const double half = student_t_quantile(0.975, n - 1) * *s.deviation / std::sqrt(n);
  return {s.mean - half, s.mean + half};
}

// The part of labels that all of them begin with, up to a '-'.
size_t common_start(const std::vector<ParetoPoint>& points) {
  if (points.size() < 2) return 0;
  std::string start = points.front().label;
  for (const ParetoPoint& p : points) {
    size_t n = 0;
    while (n < std::min(start.size(), p.label.size()) && start[n] == p.label[n]) ++n;
    start.resize(n);
  }
  const size_t dash = start.rfind('-');
  return dash == std::string::npos ? 0 : dash + 1;
}

Series series_of(const std::vector<ParetoPoint>& points, const Look& look, size_t cut) {
  std::vector<const ParetoPoint*> sorted;
  for (const ParetoPoint& p : points) sorted.push_back(&p);
  std::sort(sorted.begin(), sorted.end(),
            [](const ParetoPoint* a, const ParetoPoint* b) { return a->gmacs.mean < b->gmacs.mean; });
  Series s;
  s.look = look;
  s.marked = s.whiskers = true;
  s.width = 1.2;
  s.strength = 0.6;
  for (const ParetoPoint* p : sorted) {
    s.points.push_back({p->gmacs.mean, p->metric.mean});
    s.x_range.push_back(p->gmacs_range);
    s.y_range.push_back(interval(p->metric));
    s.names.push_back(p->label.size() > cut ? p->label.substr(cut) : p->label);
  }
  return s;
}

// The methods that learn shapes have figure 4's colours; the others follow each other in grey and what is left.
std::vector<Look> looks_of(const std::vector<std::string>& operators) {
  constexpr size_t kColour[] = {6, 3, 4, 5}, kLearned[] = {6, 1, 2, 0};
  constexpr Mark kMarks[] = {Mark::circle, Mark::square, Mark::diamond, Mark::triangle};
  std::vector<Look> looks;
  size_t designed = 0, learned = 0;
  for (const std::string& name : operators) {
    const int rank = pool_rank(name);
    const size_t n = rank > 0 ? learned++ : designed++;
    looks.push_back({.colour = kColours[rank > 0 ? kLearned[rank] : kColour[n % std::size(kColour)]],
                     .dash = {},
                     .mark = kMarks[(rank > 0 ? n + 1 : n / std::size(kColour)) % std::size(kMarks)]});
  }
  return looks;
}

}  // namespace

Drawing draw_pareto(std::span<const RunGroup> groups, const std::string& title) {
  const Metric& metric = groups.front().runs.front().task->primary();
  std::vector<ParetoPanel> panels;
  std::vector<std::string> operators;
  int64_t least = 0, most = 0;
  for (const RunGroup& group : groups) {
    std::vector<double> gmacs, values;
    for (const RunRecord& run : group.runs) {
      const auto value = run.result_number(metric.name + "_last"), cost = run.result_number("gmacs");
      if (!value || !cost) continue;
      gmacs.push_back(*cost);
      values.push_back(100 * *value);
    }
    if (values.empty()) continue;
    const Json& config = group.runs.front().config;
    const std::string context = context_text(config);
    auto panel = std::find_if(panels.begin(), panels.end(), [&](const ParetoPanel& p) { return p.title == context; });
    if (panel == panels.end()) panel = panels.insert(panel, {.title = context});
    panel->points.push_back(
        {group.label,
         pool_text(config),
         *summarize(gmacs),
         *summarize(values),
         {*std::min_element(gmacs.begin(), gmacs.end()), *std::max_element(gmacs.begin(), gmacs.end())}});
    if (std::find(operators.begin(), operators.end(), panel->points.back().operators) == operators.end())
      operators.push_back(panel->points.back().operators);
    const auto n = static_cast<int64_t>(values.size());
    least = least == 0 ? n : std::min(least, n);
    most = std::max(most, n);
  }
  if (panels.empty())
    throw Error("{}: expected a run that has ended, with {}_last and gmacs in its result.json",
                groups.front().runs.front().folder.string(), metric.name);

  std::stable_sort(operators.begin(), operators.end(),
                   [](const std::string& a, const std::string& b) { return pool_rank(a) < pool_rank(b); });
  Sheet sheet{.title = title,
              .columns = 2,
              .panel_width = panels.size() == 1 ? 620. : 470.,
              .panel_height = panels.size() == 1 ? 380. : 310.};
  const std::vector<Look> looks = looks_of(operators);
  for (size_t i = 0; i < operators.size(); ++i)
    sheet.legend.push_back({.label = operators[i], .look = looks[i], .line = false, .mark = true});
  for (const ParetoPanel& p : panels) {
    Panel panel{.title = p.title,
                .x_label = "GMACs of the final shapes, one image",
                .y_label = metric.label + " last, %",
                .series = {},
                .least = 0,
                .most = 100};
    double low = p.points.front().gmacs.mean, high = low;
    for (size_t i = 0; i < operators.size(); ++i) {
      std::vector<ParetoPoint> points;
      for (const ParetoPoint& point : p.points) {
        low = std::min(low, point.gmacs.mean);
        high = std::max(high, point.gmacs.mean);
        if (point.operators == operators[i]) points.push_back(point);
      }
      if (!points.empty()) panel.series.push_back(series_of(points, looks[i], common_start(p.points)));
    }
    panel.logarithmic_x = high > 4 * low;
    sheet.panels.push_back(std::move(panel));
  }
  sheet.note =
      most == 1
          ? std::string("One seed per point: no intervals, and no claim about a difference.")
          : fmt::format("Means over {} seeds with 95% intervals of the mean {} (Student's t) and the range of GMACs.",
                        least == most ? fmt::format("{}", most) : fmt::format("{} to {}", least, most), metric.label);
  return draw_sheet(sheet);
}

}  // namespace tidepool::figures
