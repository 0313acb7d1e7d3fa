#include "train/figures/drawing.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <iterator>

#include "data/png.h"
#include "train/escape.h"

namespace tidepool::figures {
namespace {

// Advance widths of DejaVu Sans in thousandths of its size, from the space on.
constexpr std::array<int16_t, 95> kWidths = {
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361,  318, 337, 636, 636, 636,
    636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
    575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635,  611, 732, 684, 989, 685,
    611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352,  635, 634, 278, 278, 579,
    278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592,  525, 636, 337, 636, 838};

// Two decimals are enough, and none where they are zero.
std::string number(double value) {
  std::string text = fmt::format("{:.2f}", value);
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text == "-0" ? "0" : text;
}

std::string colour_text(const Colour& c) {
  return fmt::format("#{:02x}{:02x}{:02x}", c.red, c.green, c.blue);
}

std::string paint(const std::optional<Stroke>& stroke, const std::optional<Colour>& fill) {
  std::string text = fmt::format(R"( fill="{}")", fill ? colour_text(*fill) : "none");
  if (fill && fill->alpha < 1) text += fmt::format(R"( fill-opacity="{}")", number(fill->alpha));
  if (!stroke) return text;
  text += fmt::format(R"( stroke="{}" stroke-width="{}")", colour_text(stroke->colour), number(stroke->width));
  if (stroke->colour.alpha < 1) text += fmt::format(R"( stroke-opacity="{}")", number(stroke->colour.alpha));
  if (!stroke->dash.empty()) text += fmt::format(R"( stroke-dasharray="{}")", fmt::join(stroke->dash, " "));
  return text;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) bits = bits << 8 | (k < n ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) text += k <= n ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

struct SvgWriter {
  std::string text;

  void operator()(const Path& path) {
    std::string d;
    for (const Point& p : path.points) d += fmt::format("{}{} {}", d.empty() ? "M" : "L", number(p.x), number(p.y));
    text += fmt::format(R"(<path d="{}{}"{}/>)", d, path.closed ? "Z" : "", paint(path.stroke, path.fill));
  }
  void operator()(const Circle& c) {
    text += fmt::format(R"(<circle cx="{}" cy="{}" r="{}"{}/>)", number(c.centre.x), number(c.centre.y),
                        number(c.radius), paint(c.stroke, c.fill));
  }
  void operator()(const Text& t) {
    text += fmt::format(R"(<text x="{}" y="{}" font-size="{}" fill="{}")", number(t.at.x), number(t.at.y),
                        number(t.size), colour_text(t.colour));
    if (t.anchor != Anchor::start)
      text += fmt::format(R"( text-anchor="{}")", t.anchor == Anchor::middle ? "middle" : "end");
    if (t.halo) text += R"( stroke="#ffffff" stroke-width="3" stroke-linejoin="round" paint-order="stroke")";
    if (t.bold) text += R"( font-weight="bold")";
    if (t.degrees != 0)
      text += fmt::format(" transform=\"rotate({} {} {})\"", number(t.degrees), number(t.at.x), number(t.at.y));
    text += fmt::format(">{}</text>", escape_html(t.text));
  }
  void operator()(const Bitmap& b) {
    const Picture picture{
        .height = b.image.height, .width = b.image.width, .channels = 3, .bits = 8, .bytes = b.image.pixels};
    text += fmt::format(
        R"(<image x="{}" y="{}" width="{}" height="{}" preserveAspectRatio="none" style="image-rendering:pixelated" href="data:image/png;base64,{}"/>)",
        number(b.box.left), number(b.box.top), number(b.box.width), number(b.box.height),
        base64(encode_png(picture, "a figure")));
  }
};

}  // namespace

void Drawing::box(const Box& b, std::optional<Colour> fill, std::optional<Stroke> stroke) {
  add(Path{{{b.left, b.top}, {b.right(), b.top}, {b.right(), b.bottom()}, {b.left, b.bottom()}},
           true,
           std::move(stroke),
           fill});
}

void Drawing::ground() {
  std::vector<Shape> above = std::move(shapes);
  shapes.clear();
  box({0, 0, width, height}, Colour{255, 255, 255});
  shapes.insert(shapes.end(), std::make_move_iterator(above.begin()), std::make_move_iterator(above.end()));
}

double text_width(std::string_view text, double size, bool bold) {
  double width = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0) == 0x80) continue;  // within a character
    width += byte >= 32 && byte < 127 ? kWidths[byte - 32u] : 700;
  }
  return width / 1000 * size * (bold ? 1.1 : 1);
}

std::string fitted_text(const std::string& text, double width, double size, bool bold) {
  if (text_width(text, size, bold) <= width) return text;
  std::string cut = text;
  while (!cut.empty() && text_width(cut + "\u2026", size, bold) > width) {
    while (cut.size() > 1 && (static_cast<unsigned char>(cut.back()) & 0xC0) == 0x80) cut.pop_back();
    cut.pop_back();
  }
  return cut + "\u2026";
}

std::string svg(const Drawing& drawing) {
  SvgWriter writer{fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="{2}" font-family="Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif">)",
      number(drawing.width), number(drawing.height), escape_html(drawing.title))};
  for (const Shape& shape : drawing.shapes) {
    std::visit(writer, shape);
    writer.text += '\n';
  }
  return writer.text + "</svg>\n";
}

}  // namespace tidepool::figures
