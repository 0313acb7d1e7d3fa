// The one file that includes cairo.
#include <cairo.h>

#include <cmath>
#include <memory>
#include <numbers>

#include "core/error.h"
#include "data/png.h"
#include "train/figures/raster.h"

namespace tidepool::figures {
namespace {

struct Painter {
  cairo_t* to;

  void colour(const Colour& c) const {
    cairo_set_source_rgba(to, c.red / 255.0, c.green / 255.0, c.blue / 255.0, c.alpha);
  }
  void paint(const std::optional<Stroke>& stroke, const std::optional<Colour>& fill) const {
    if (fill) {
      colour(*fill);
      cairo_fill_preserve(to);
    }
    if (stroke) {
      colour(stroke->colour);
      cairo_set_line_width(to, stroke->width);
      cairo_set_dash(to, stroke->dash.data(), static_cast<int>(stroke->dash.size()), 0);
      cairo_stroke_preserve(to);
    }
    cairo_new_path(to);
  }
  void operator()(const Path& path) const {
    for (const Point& p : path.points) cairo_line_to(to, p.x, p.y);
    if (path.closed) cairo_close_path(to);
    paint(path.stroke, path.fill);
  }
  void operator()(const Circle& c) const {
    cairo_arc(to, c.centre.x, c.centre.y, c.radius, 0, 2 * std::numbers::pi);
    paint(c.stroke, c.fill);
  }
  void operator()(const Text& t) const {
    cairo_select_font_face(to, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           t.bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(to, t.size);
    cairo_text_extents_t extents;
    cairo_text_extents(to, t.text.c_str(), &extents);
    const double shift = t.anchor == Anchor::start    ? 0
                         : t.anchor == Anchor::middle ? extents.x_advance / 2
                                                      : extents.x_advance;
    cairo_save(to);
    cairo_translate(to, t.at.x, t.at.y);
    cairo_rotate(to, t.degrees * std::numbers::pi / 180);
    if (t.halo) {
      cairo_move_to(to, -shift, 0);
      cairo_text_path(to, t.text.c_str());
      colour({255, 255, 255});
      cairo_set_line_width(to, 3);
      cairo_set_dash(to, nullptr, 0, 0);
      cairo_stroke(to);
    }
    cairo_move_to(to, -shift, 0);
    colour(t.colour);
    cairo_show_text(to, t.text.c_str());
    cairo_restore(to);
    cairo_new_path(to);
  }
  void operator()(const Bitmap& b) const {
    const auto height = static_cast<int>(b.image.height), width = static_cast<int>(b.image.width);
    std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)> picture(
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height), cairo_surface_destroy);
    unsigned char* data = cairo_image_surface_get_data(picture.get());
    const int stride = cairo_image_surface_get_stride(picture.get());
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        const uint8_t* from =
            b.image.pixels.data() + (static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)) * 3;
        const uint32_t pixel = static_cast<uint32_t>(from[0]) << 16 | static_cast<uint32_t>(from[1]) << 8 | from[2];
        reinterpret_cast<uint32_t*>(data + static_cast<ptrdiff_t>(y) * stride)[x] = pixel;
      }
    cairo_surface_mark_dirty(picture.get());
    cairo_save(to);
    cairo_translate(to, b.box.left, b.box.top);
    cairo_scale(to, b.box.width / width, b.box.height / height);
    cairo_set_source_surface(to, picture.get(), 0, 0);
    cairo_pattern_set_filter(cairo_get_source(to), CAIRO_FILTER_NEAREST);
    cairo_paint(to);
    cairo_restore(to);
  }
};

}  // namespace

bool has_raster() {
  return true;
}

std::string png(const Drawing& drawing, double scale) {
  const auto width = static_cast<int>(std::ceil(drawing.width * scale)),
             height = static_cast<int>(std::ceil(drawing.height * scale));
  const std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)> surface(
      cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height), cairo_surface_destroy);
  const std::unique_ptr<cairo_t, decltype(&cairo_destroy)> context(cairo_create(surface.get()), cairo_destroy);
  cairo_set_source_rgb(context.get(), 1, 1, 1);
  cairo_paint(context.get());
  cairo_scale(context.get(), scale, scale);
  cairo_set_line_join(context.get(), CAIRO_LINE_JOIN_ROUND);
  for (const Shape& shape : drawing.shapes) std::visit(Painter{context.get()}, shape);
  cairo_surface_flush(surface.get());
  if (const cairo_status_t status = cairo_status(context.get()); status != CAIRO_STATUS_SUCCESS)
    throw Failure("a figure of {} x {} pixels cannot be drawn: {}", width, height, cairo_status_to_string(status));
  const unsigned char* data = cairo_image_surface_get_data(surface.get());
  if (data == nullptr) throw Failure("a figure of {} x {} pixels cannot be drawn", width, height);
  const int stride = cairo_image_surface_get_stride(surface.get());
  Picture picture{.height = height, .width = width, .channels = 3, .bits = 8, .bytes = {}};
  picture.bytes.reserve(static_cast<size_t>(height) * static_cast<size_t>(width) * 3);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const uint32_t pixel = reinterpret_cast<const uint32_t*>(data + static_cast<ptrdiff_t>(y) * stride)[x];
      for (const int shift : {16, 8, 0}) picture.bytes.push_back(static_cast<uint8_t>(pixel >> shift & 255u));
    }
  return encode_png(picture, "a figure");
}

}  // namespace tidepool::figures
