// A drawing: lines, areas, text and pictures in the order in which they are painted. Written as SVG here, as PNG by
// raster.h. Lengths are in CSS pixels (1/96 inch), x to the right, y down.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "data/picture.h"

namespace tidepool::figures {

struct Point {
  double x = 0, y = 0;
};

struct Box {
  double left = 0, top = 0, width = 0, height = 0;

  double right() const { return left + width; }
  double bottom() const { return top + height; }
};

struct Colour {
  uint8_t red = 0, green = 0, blue = 0;
  double alpha = 1;

  Colour faded(double by) const { return {red, green, blue, alpha * by}; }
};

struct Stroke {
  Colour colour;
  double width = 1;
  std::vector<double> dash = {};  ///< lengths of strokes and gaps; empty: solid
};

/// A line through points, or the area within them.
struct Path {
  std::vector<Point> points;
  bool closed = false;
  std::optional<Stroke> stroke = {};
  std::optional<Colour> fill = {};
};

struct Circle {
  Point centre;
  double radius = 1;
  std::optional<Stroke> stroke = {};
  std::optional<Colour> fill = {};
};

enum class Anchor { start, middle, end };

struct Text {
  std::string text;  ///< UTF-8, one line
  Point at;          ///< the anchor, on the baseline
  double size = 11;
  Anchor anchor = Anchor::start;
  Colour colour = {34, 34, 34};
  bool bold = false;
  double degrees = 0;  ///< turned clockwise around `at`
  bool halo = false;   ///< with a white edge, to be read above lines
};

/// A picture of square pixels, enlarged without smoothing.
struct Bitmap {
  RgbImage image;
  Box box;
};

using Shape = std::variant<Path, Circle, Text, Bitmap>;

struct Drawing {
  double width = 0, height = 0;
  std::string title = {};  ///< what it shows, for those who cannot see it
  std::vector<Shape> shapes = {};

  template <class T>
  void add(T shape) {
    shapes.emplace_back(std::in_place_type<T>, std::move(shape));
  }
  /// A white ground beneath everything, of the drawing's size.
  void ground();
  void line(Point from, Point to, Stroke stroke) { add(Path{{from, to}, false, std::move(stroke), {}}); }
  void box(const Box& box, std::optional<Colour> fill, std::optional<Stroke> stroke = {});
};

/// Width of a line of text. Fonts differ from machine to machine: this is of DejaVu Sans, a wide one, so that text has
/// room in any.
double text_width(std::string_view text, double size, bool bold = false);
/// The text, or as much of it as fits into `width` with an ellipsis behind it.
std::string fitted_text(const std::string& text, double width, double size, bool bold = false);

/// An SVG document; as an element of a page it may stand as it is.
std::string svg(const Drawing& drawing);

}  // namespace tidepool::figures
