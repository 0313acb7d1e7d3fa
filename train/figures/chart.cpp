#include "train/figures/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace tidepool::figures {
namespace {

constexpr double kTickSize = 10, kLabelSize = 11, kTitleSize = 12;

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  void take(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

// From data to pixels along one axis.
struct Scale {
  double low, high, from, to;
  bool logarithmic = false;

  double operator()(double value) const {
    const auto f = [&](double v) { return logarithmic ? std::log(v) : v; };
    return from + (f(value) - f(low)) / (f(high) - f(low)) * (to - from);
  }
};

Range x_range(const Panel& panel) {
  Range range;
  for (const Series& s : panel.series) {
    for (const Point& p : s.points) range.take(p.x);
    for (const auto& [low, high] : s.x_range) {
      range.take(low);
      range.take(high);
    }
  }
  return range;
}

Range y_range(const Panel& panel) {
  Range range;
  for (const Series& s : panel.series) {
    for (const Point& p : s.points) range.take(p.y);
    for (const auto& [low, high] : s.y_range) {
      range.take(low);
      range.take(high);
    }
  }
  return range;
}

// Room around the data, and some where all of it is one value, but for rounding.
Range widened(Range range, double share) {
  if (range.empty()) return {0, 1};
  const double length = range.high - range.low;
  const double size = std::max(std::abs(range.low), std::abs(range.high));
  const double room = length > 1e-9 * size ? share * length : std::max(size * 0.1, 0.5);
  return {range.low - room, range.high + room};
}

void draw_mark(Drawing& drawing, Point at, const Look& look, double radius = 3.6) {
  const Stroke edge{.colour = {255, 255, 255}, .width = 0.8, .dash = {}};
  const auto polygon = [&](std::vector<Point> points) {
    for (Point& p : points) p = {at.x + p.x * radius, at.y + p.y * radius};
    drawing.add(Path{std::move(points), true, edge, look.colour});
  };
  if (look.mark == Mark::circle) drawing.add(Circle{at, radius, edge, look.colour});
  if (look.mark == Mark::square) polygon({{-0.9, -0.9}, {0.9, -0.9}, {0.9, 0.9}, {-0.9, 0.9}});
  if (look.mark == Mark::triangle) polygon({{0, -1.15}, {1.1, 0.85}, {-1.1, 0.85}});
  if (look.mark == Mark::diamond) polygon({{0, -1.25}, {1.25, 0}, {0, 1.25}, {-1.25, 0}});
}

void draw_band(Drawing& drawing, const Series& s, const Scale& x, const Scale& y) {
  std::vector<Point> outline;
  for (size_t i = 0; i < s.points.size(); ++i) outline.push_back({x(s.points[i].x), y(s.y_range[i].second)});
  for (size_t i = s.points.size(); i-- > 0;) outline.push_back({x(s.points[i].x), y(s.y_range[i].first)});
  drawing.add(Path{std::move(outline), true, {}, s.look.colour.faded(0.18)});
}

// An interval from `low` to `high` along an axis; an end that is beyond the axis has no cap.
void draw_whisker(const std::pair<double, double>& range, const Scale& axis, const auto& line) {
  constexpr double kCap = 3;
  if (range.first == range.second) return;
  const double low = std::max(range.first, axis.low), high = std::min(range.second, axis.high);
  line(axis(low), axis(high), 0, 0);
  for (const auto& [end, bound] : {std::pair{range.first, low}, {range.second, high}})
    if (end == bound) line(axis(end), axis(end), -kCap, kCap);
}

void draw_whiskers(Drawing& drawing, const Series& s, const Scale& x, const Scale& y) {
  const Stroke stroke{.colour = s.look.colour, .width = 1.1, .dash = {}};
  for (size_t i = 0; i < s.y_range.size(); ++i) {
    const double at = x(s.points[i].x);
    draw_whisker(s.y_range[i], y, [&](double from, double to, double left, double right) {
      drawing.line({at + left, from}, {at + right, to}, stroke);
    });
  }
  for (size_t i = 0; i < s.x_range.size(); ++i) {
    const double at = y(s.points[i].y);
    draw_whisker(s.x_range[i], x, [&](double from, double to, double up, double down) {
      drawing.line({from, at + up}, {to, at + down}, stroke);
    });
  }
}

void draw_series(Drawing& drawing, const Series& s, const Scale& x, const Scale& y) {
  if (s.joined && s.points.size() > 1) {
    Path path;
    for (const Point& p : s.points) path.points.push_back({x(p.x), y(p.y)});
    path.stroke = Stroke{s.look.colour.faded(s.strength), s.width, s.look.dash};
    drawing.add(std::move(path));
  }
  if (s.marked || s.points.size() == 1)
    for (const Point& p : s.points) draw_mark(drawing, {x(p.x), y(p.y)}, s.look);
}

// A name beside each point: of the places around it that which covers least, nearer ones first.
void draw_names(Drawing& drawing, const Panel& panel, const Box& area, const Scale& x, const Scale& y) {
  constexpr double kSize = 9.5;
  std::vector<Box> taken;
  for (const Series& s : panel.series)
    for (size_t i = 0; i < s.points.size(); ++i) {
      const Point at{x(s.points[i].x), y(s.points[i].y)};
      taken.push_back({at.x - 4, at.y - 4, 8, 8});
      constexpr int kPieces = 12;  // of the line to the next point
      for (int k = 1; s.joined && i + 1 < s.points.size() && k < kPieces; ++k) {
        const double share = static_cast<double>(k) / kPieces;
        const Point to{x(s.points[i + 1].x), y(s.points[i + 1].y)};
        taken.push_back({at.x + share * (to.x - at.x) - 2, at.y + share * (to.y - at.y) - 2, 4, 4});
      }
      if (i < s.y_range.size())
        taken.push_back({at.x - 1.5, y(s.y_range[i].second), 3, y(s.y_range[i].first) - y(s.y_range[i].second)});
      if (i < s.x_range.size())
        taken.push_back({x(s.x_range[i].first), at.y - 1.5, x(s.x_range[i].second) - x(s.x_range[i].first), 3});
    }
  const auto overlap = [](const Box& a, const Box& b) {
    const double wide = std::min(a.right(), b.right()) - std::max(a.left, b.left),
                 high = std::min(a.bottom(), b.bottom()) - std::max(a.top, b.top);
    return wide > 0 && high > 0 ? wide * high : 0;
  };
  for (const Series& s : panel.series)
    for (size_t i = 0; i < s.names.size(); ++i) {
      if (s.names[i].empty()) continue;
      const Point at{x(s.points[i].x), y(s.points[i].y)};
      const double width = text_width(s.names[i], kSize), height = kSize + 1;
      Box best;
      double least = std::numeric_limits<double>::infinity();
      for (const double gap : {7.0, 16.0, 27.0})
        for (const auto& [dx, dy] :
             {std::pair{0., 0.5}, {-1., 0.5}, {0., 0.}, {0., 1.}, {-1., 0.}, {-1., 1.}, {-0.5, 0.}, {-0.5, 1.}}) {
          const Box box{at.x + (dx == 0    ? gap
                                : dx == -1 ? -gap - width
                                           : -width / 2),
                        at.y + (dy == 0.5 ? -height / 2
                                : dy == 0 ? -gap * 0.7 - height
                                          : gap * 0.7),
                        width, height};
          double cost = 0;
          for (const Box& other : taken) cost += overlap(box, other);
          cost += 4 * (width * height - overlap(box, area)) + 0.5 * gap;
          if (cost < least) {
            least = cost;
            best = box;
          }
        }
      taken.push_back(best);
      drawing.add(Text{.text = s.names[i],
                       .at = {best.left, best.bottom() - 2.2},
                       .size = kSize,
                       .colour = s.look.colour,
                       .halo = true});
    }
}

}  // namespace

Look look(size_t row) {
  static const std::vector<std::vector<double>> kDashes = {{}, {6, 3}, {2, 2.5}, {8, 3, 2, 3}};
  static constexpr Mark kMarks[] = {Mark::circle, Mark::square, Mark::triangle, Mark::diamond};
  return {.colour = kColours[row % kColours.size()],
          .dash = kDashes[row / kColours.size() % kDashes.size()],
          .mark = kMarks[row % std::size(kMarks)]};
}

std::vector<double> nice_ticks(double low, double high, int wanted, bool whole) {
  const double rough = (high - low) / std::max(1, wanted);
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5., 2., 1.})
    if (factor * power * (wanted + 2) >= high - low) step = factor * power;
  if (whole) step = std::max(1., std::round(step));
  std::vector<double> ticks;
  for (double k = std::ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; ++k) ticks.push_back(k * step + 0.0);
  return ticks;
}

std::vector<double> nice_log_ticks(double low, double high) {
  std::vector<double> ticks;
  for (double power = std::pow(10, std::floor(std::log10(low))); power <= high; power *= 10)
    for (const double factor : {1., 2., 5.})
      if (factor * power >= low * 0.999 && factor * power <= high * 1.001) ticks.push_back(factor * power);
  return ticks;
}

std::vector<std::string> tick_texts(const std::vector<double>& ticks) {
  for (int decimals = 0; decimals < 9; ++decimals) {
    const double unit = std::pow(10, decimals);
    if (!std::all_of(ticks.begin(), ticks.end(), [&](double t) {
          return std::abs(std::round(t * unit) - t * unit) < 1e-6 * std::max(1., std::abs(t * unit));
        }))
      continue;
    std::vector<std::string> texts;
    for (const double t : ticks) texts.push_back(fmt::format("{:.{}f}", t == 0 ? 0. : t, decimals));
    return texts;
  }
  std::vector<std::string> texts;
  for (const double t : ticks) texts.push_back(fmt::format("{:.2g}", t));
  return texts;
}

namespace {

// The y axis of a panel of this height.
struct YAxis {
  Range range;
  std::vector<double> ticks;
  std::vector<std::string> texts;
  double gutter = 0;  // what its texts and label take
};

YAxis y_axis(const Panel& panel, double height) {
  Range yr = widened(y_range(panel), 0.06);
  if (panel.least) yr.low = std::max(yr.low, *panel.least);
  if (panel.most) yr.high = std::min(yr.high, *panel.most);
  if (yr.high <= yr.low) yr.high = yr.low + 1;
  YAxis axis{.range = yr, .ticks = nice_ticks(yr.low, yr.high, height < 160 ? 3 : 5, panel.whole_y), .texts = {}};
  axis.texts = tick_texts(axis.ticks);
  for (const std::string& text : axis.texts) axis.gutter = std::max(axis.gutter, text_width(text, kTickSize));
  axis.gutter += 8 + (panel.y_label.empty() ? 0 : 18);
  return axis;
}

}  // namespace

double panel_gutter(const Panel& panel, double height) {
  return y_axis(panel, height).gutter;
}

void draw_panel(Drawing& drawing, const Box& box, const Panel& panel, double gutter) {
  const YAxis y_side = y_axis(panel, box.height);
  const Range& yr = y_side.range;
  const std::vector<double>& ys = y_side.ticks;
  const std::vector<std::string>& y_texts = y_side.texts;
  Range xr = x_range(panel);
  const bool logarithmic = panel.logarithmic_x && xr.low > 0;
  if (logarithmic) {
    const double room = std::pow(xr.high / xr.low, 0.08);
    xr = {xr.low / std::max(room, 1.05), xr.high * std::max(room, 1.05)};
  } else {
    xr = widened(xr, 0.03);
  }
  Box area = box;
  area.left += std::max(gutter, y_side.gutter);
  area.width = box.right() - 10 - area.left;
  area.top += panel.title.empty() ? 6 : 24;
  area.height = box.bottom() - 20 - (panel.x_label.empty() ? 0 : 16) - area.top;
  const std::vector<double> xs =
      logarithmic ? nice_log_ticks(xr.low, xr.high) : nice_ticks(xr.low, xr.high, area.width < 160 ? 3 : 6);
  const std::vector<std::string> x_texts = tick_texts(xs);
  const Scale x{xr.low, xr.high, area.left, area.right(), logarithmic},
      y{yr.low, yr.high, area.bottom(), area.top, false};

  if (!panel.title.empty())
    drawing.add(Text{.text = fitted_text(panel.title, box.right() - area.left, kTitleSize, true),
                     .at = {area.left, box.top + 14},
                     .size = kTitleSize,
                     .bold = true});
  const Stroke grid{.colour = kFaint, .width = 0.8, .dash = {}}, axis{.colour = kSoft, .width = 1, .dash = {}};
  for (size_t i = 0; i < ys.size(); ++i) {
    drawing.line({area.left, y(ys[i])}, {area.right(), y(ys[i])}, grid);
    drawing.add(Text{.text = y_texts[i],
                     .at = {area.left - 6, y(ys[i]) + kTickSize * 0.35},
                     .size = kTickSize,
                     .anchor = Anchor::end,
                     .colour = kSoft});
  }
  for (size_t i = 0; i < xs.size(); ++i) {
    drawing.line({x(xs[i]), area.bottom()}, {x(xs[i]), area.bottom() + 4}, axis);
    drawing.add(Text{.text = x_texts[i],
                     .at = {x(xs[i]), area.bottom() + 15},
                     .size = kTickSize,
                     .anchor = Anchor::middle,
                     .colour = kSoft});
  }
  drawing.line({area.left, area.bottom()}, {area.right(), area.bottom()}, axis);
  if (!panel.x_label.empty())
    drawing.add(Text{.text = panel.x_label,
                     .at = {area.left + area.width / 2, area.bottom() + 31},
                     .size = kLabelSize,
                     .anchor = Anchor::middle});
  if (!panel.y_label.empty())
    drawing.add(Text{.text = panel.y_label,
                     .at = {box.left + 11, area.top + area.height / 2},
                     .size = kLabelSize,
                     .anchor = Anchor::middle,
                     .degrees = -90});
  for (const Series& s : panel.series)
    if (!s.whiskers && s.y_range.size() == s.points.size() && s.points.size() > 1) draw_band(drawing, s, x, y);
  for (const Series& s : panel.series)
    if (s.whiskers) draw_whiskers(drawing, s, x, y);
  for (const Series& s : panel.series) draw_series(drawing, s, x, y);
  draw_names(drawing, panel, area, x, y);
}

double draw_legend(Drawing& drawing, Point at, double width, const std::vector<LegendEntry>& entries) {
  constexpr double kLine = 17, kSample = 22, kGap = 18;
  if (entries.empty()) return 0;
  double left = at.x, top = at.y;
  for (const LegendEntry& entry : entries) {
    const std::string label = fitted_text(entry.label, width - kSample - 6, kLabelSize);
    const double wide = kSample + 6 + text_width(label, kLabelSize);
    if (left > at.x && left + wide > at.x + width) {
      left = at.x;
      top += kLine;
    }
    const double middle = top + kLine / 2 - 1;
    if (entry.line)
      drawing.line({left, middle}, {left + kSample, middle},
                   {.colour = entry.look.colour, .width = 2, .dash = entry.look.dash});
    if (entry.mark) draw_mark(drawing, {left + kSample / 2, middle}, entry.look);
    drawing.add(Text{.text = label, .at = {left + kSample + 6, middle + kLabelSize * 0.36}, .size = kLabelSize});
    left += wide + kGap;
  }
  return top + kLine - at.y;
}

double draw_note(Drawing& drawing, Point at, double width, const std::string& text) {
  constexpr double kSize = 9.5, kLine = 13;
  double top = at.y;
  std::string line;
  const auto put = [&] {
    if (line.empty()) return;
    top += kLine;
    drawing.add(Text{.text = line, .at = {at.x, top}, .size = kSize, .colour = kSoft});
    line.clear();
  };
  for (size_t from = 0; from < text.size();) {
    const size_t space = std::min(text.find(' ', from), text.size());
    const std::string word = text.substr(from, space - from);
    if (!line.empty() && text_width(line + " " + word, kSize) > width) put();
    line += (line.empty() ? "" : " ") + word;
    from = space + 1;
  }
  put();
  return top - at.y;
}

Drawing draw_sheet(const Sheet& sheet) {
  constexpr double kMargin = 12, kBetween = 14;
  const size_t columns = std::max<size_t>(1, std::min(sheet.columns, sheet.panels.size()));
  const auto across = static_cast<double>(columns);
  Drawing drawing{.width = 2 * kMargin + across * sheet.panel_width + (across - 1) * kBetween, .title = sheet.title};
  const double width = drawing.width - 2 * kMargin;
  double top = kMargin;
  if (!sheet.title.empty()) {
    drawing.add(
        Text{.text = fitted_text(sheet.title, width, 14, true), .at = {kMargin, top + 14}, .size = 14, .bold = true});
    top += 26;
  }
  if (!sheet.legend.empty()) top += draw_legend(drawing, {kMargin, top}, width, sheet.legend) + 8;
  std::vector<double> gutters(columns, 0);  // so that the axes below each other begin at one place
  for (size_t i = 0; i < sheet.panels.size(); ++i)
    gutters[i % columns] = std::max(gutters[i % columns], panel_gutter(sheet.panels[i], sheet.panel_height));
  for (size_t i = 0; i < sheet.panels.size(); ++i) {
    const size_t column = i % columns;
    if (i > 0 && column == 0) top += sheet.panel_height + kBetween;
    draw_panel(drawing,
               {kMargin + static_cast<double>(column) * (sheet.panel_width + kBetween), top, sheet.panel_width,
                sheet.panel_height},
               sheet.panels[i], gutters[column]);
  }
  top += sheet.panel_height;
  if (!sheet.note.empty()) top += draw_note(drawing, {kMargin, top + 2}, width, sheet.note) + 4;
  drawing.height = std::ceil(top + kMargin);
  drawing.ground();
  return drawing;
}

}  // namespace tidepool::figures
