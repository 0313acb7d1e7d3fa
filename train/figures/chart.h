// Panels with axes, curves, bands and intervals, and the legend above them: the one style of all figures.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "train/figures/drawing.h"

namespace tidepool::figures {

// Okabe and Ito's colours (Color Universal Design, 2008), which colour-blind readers tell apart, the lightest left out.
inline constexpr std::array<Colour, 7> kColours = {
    {{0, 114, 178}, {213, 94, 0}, {0, 158, 115}, {204, 121, 167}, {230, 159, 0}, {86, 180, 233}, {90, 90, 90}}};
inline constexpr Colour kInk = {34, 34, 34}, kSoft = {110, 110, 110}, kFaint = {228, 228, 228};

enum class Mark { none, circle, square, triangle, diamond };

/// How a row is drawn wherever it stands: colours first, then dashes and marks, so that print without colour serves.
struct Look {
  Colour colour = kColours[0];
  std::vector<double> dash = {};
  Mark mark = Mark::circle;
};
Look look(size_t row);

struct Series {
  Look look = {};
  std::vector<Point> points = {};                       ///< in the order in which they are joined
  std::vector<std::pair<double, double>> y_range = {};  ///< of each point; empty: none
  std::vector<std::pair<double, double>> x_range = {};
  bool joined = true;
  bool marked = false;                  ///< a mark at each point
  bool whiskers = false;                ///< ranges are intervals of each point, else a band
  double width = 1.8;                   ///< of the line
  double strength = 1;                  ///< opacity of the line
  std::vector<std::string> names = {};  ///< beside each point; empty: none
};

struct Panel {
  std::string title = {}, x_label = {}, y_label = {};
  std::vector<Series> series = {};
  std::optional<double> least = {}, most = {};  ///< bounds that the y axis keeps within
  bool logarithmic_x = false;
  bool whole_y = false;  ///< ticks at whole numbers only
};

/// What the labels of the y axis take on the left, in a box of this height.
double panel_gutter(const Panel& panel, double height);
/// Draws axes, grid and series into a box, which has room for the labels of the axes and the title. `gutter`: the least
/// that is left free for the labels of the y axis.
void draw_panel(Drawing& drawing, const Box& box, const Panel& panel, double gutter = 0);

struct LegendEntry {
  std::string label;
  Look look = {};
  bool line = true, mark = false;
};
/// In lines from `at` on, within `width`; returns their height.
double draw_legend(Drawing& drawing, Point at, double width, const std::vector<LegendEntry>& entries);

/// Grey text in lines of at most `width`; returns their height.
double draw_note(Drawing& drawing, Point at, double width, const std::string& text);

/// A title, a legend, panels in rows of `columns`, and a note below.
struct Sheet {
  std::string title = {};
  std::vector<LegendEntry> legend = {};
  std::vector<Panel> panels = {};
  size_t columns = 2;
  double panel_width = 400, panel_height = 250;
  std::string note = {};
};
Drawing draw_sheet(const Sheet& sheet);

/// Tick values of an axis from `low` to `high`: multiples of 1, 2 or 5 times a power of ten, about `wanted` of them.
std::vector<double> nice_ticks(double low, double high, int wanted = 5, bool whole = false);
/// Of a logarithmic axis: 1, 2 and 5 times powers of ten.
std::vector<double> nice_log_ticks(double low, double high);
/// The ticks as text, all with the same number of decimals.
std::vector<std::string> tick_texts(const std::vector<double>& ticks);

}  // namespace tidepool::figures
