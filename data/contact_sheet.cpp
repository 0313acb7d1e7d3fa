#include "data/contact_sheet.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/resample.h"

namespace tidepool {
namespace {

constexpr int64_t kGlyphWidth = 5, kGlyphHeight = 8, kAdvance = 6, kLine = 10, kMargin = 8;

struct Glyph {
  char letter;
  uint64_t rows;  // eight rows of five bits from the top; the last one is below the line
};
// Drawn for this sheet.
constexpr Glyph kFont[] = {
    // clang-format off
    {' ', 0x0000000000}, {'#', 0x52beafa940}, {'%', 0xce88422e60}, {'(', 0x1110841040}, {')', 0x4104211100},
    {'+', 0x0109f21000}, {',', 0x0000003088}, {'-', 0x0000e00000}, {'.', 0x0000003180}, {'/', 0x0884442200},
    {'0', 0x74675cc5c0}, {'1', 0x23084211c0}, {'2', 0x74426443e0}, {'3', 0x744260c5c0}, {'4', 0x11952f8840},
    {'5', 0xfc3c10c5c0}, {'6', 0x7421e8c5c0}, {'7', 0xf844221080}, {'8', 0x7462e8c5c0}, {'9', 0x7462f085c0},
    {':', 0x0318063000}, {'=', 0x003e0f8000}, {'A', 0x7463f8c620}, {'B', 0xf463e8c7c0}, {'C', 0x74610845c0},
    {'D', 0xf46318c7c0}, {'E', 0xfc21e843e0}, {'F', 0xfc21e84200}, {'G', 0x746178c5c0}, {'H', 0x8c63f8c620},
    {'I', 0x71084211c0}, {'J', 0x3884214980}, {'K', 0x8ca98a4a20}, {'L', 0x84210843e0}, {'M', 0x8eeb58c620},
    {'N', 0x8e7359ce20}, {'O', 0x746318c5c0}, {'P', 0xf463e84200}, {'Q', 0x74631ac9a0}, {'R', 0xf463ea4a20},
    {'S', 0x7c20e087c0}, {'T', 0xf908421080}, {'U', 0x8c6318c5c0}, {'V', 0x8c63152880}, {'W', 0x8c635aee20},
    {'X', 0x8c54454620}, {'Y', 0x8c54421080}, {'Z', 0xf8444443e0}, {'[', 0x72108421c0}, {']', 0x70842109c0},
    {'_', 0x000000001f}, {'a', 0x001c17c5e0}, {'b', 0x843d18c7c0}, {'c', 0x001d0841c0}, {'d', 0x085f18c5e0},
    {'e', 0x001d1fc1c0}, {'f', 0x323c842100}, {'g', 0x001f18bc2e}, {'h', 0x843d18c620}, {'i', 0x20184211c0},
    {'j', 0x100c210a4c}, {'k', 0x84254c5240}, {'l', 0x61084211c0}, {'m', 0x00355ad6a0}, {'n', 0x003d18c620},
    {'o', 0x001d18c5c0}, {'p', 0x003d18fa10}, {'q', 0x001f18bc21}, {'r', 0x002d984200}, {'s', 0x001f0707c0},
    {'t', 0x423c8420c0}, {'u', 0x002318c5e0}, {'v', 0x0023152880}, {'w', 0x00235ad540}, {'x', 0x0022a22a20},
    {'y', 0x002318bc2e}, {'z', 0x003e2223e0}, {'~', 0x0013600000},
    // clang-format on
};
constexpr uint64_t kUnknown = 0xfc6318c7e0;  // a box

uint64_t glyph_of(char letter) {
  const auto* const at =
      std::lower_bound(std::begin(kFont), std::end(kFont), letter, [](const Glyph& g, char c) { return g.letter < c; });
  return at != std::end(kFont) && at->letter == letter ? at->rows : kUnknown;
}

// Pixels repeated: output i shows input floor((i + 1/2) in / out).
AxisFilter repeat_filter(int64_t in, int64_t out) {
  AxisFilter filter{.in = in, .out = out, .taps = 1, .first = {}, .weights = {}};
  for (int64_t i = 0; i < out; ++i) filter.first.push_back((2 * i + 1) * in / (2 * out));
  filter.weights.assign(static_cast<size_t>(out), 1.0f);
  return filter;
}

}  // namespace

RgbImage panel_image(const Picture& picture, int64_t height, int64_t width) {
  const auto filter = [](int64_t in, int64_t out) { return in > out ? area_filter(in, out) : repeat_filter(in, out); };
  const AxisFilter rows = filter(picture.height, height), columns = filter(picture.width, width);
  const Tensor planes = to_planes(picture);
  const int64_t positions = height * width;
  std::vector<float> small(static_cast<size_t>(picture.channels * positions)), scratch;
  for (int64_t c = 0; c < picture.channels; ++c)
    resample(planes.data<float>() + c * picture.height * picture.width, 1, rows, 0, height, columns, 0, width,
             small.data() + c * positions, scratch);
  RgbImage image{.height = height, .width = width, .pixels = std::vector<uint8_t>(static_cast<size_t>(3 * positions))};
  for (int64_t i = 0; i < positions; ++i) {
    const float alpha = picture.has_alpha() ? small[static_cast<size_t>((picture.channels - 1) * positions + i)] : 1.0f;
    for (int64_t c = 0; c < 3; ++c) {
      const int64_t from = picture.colours() == 1 ? 0 : c;
      const float v = alpha * small[static_cast<size_t>(from * positions + i)] + (1 - alpha);
      image.pixels[static_cast<size_t>(3 * i + c)] = static_cast<uint8_t>(std::lround(std::clamp(v, 0.f, 1.f) * 255));
    }
  }
  return image;
}

void draw_text(RgbImage& image, int64_t top, int64_t left, int64_t width, std::string_view text) {
  const int64_t right = std::min(image.width, left + width);
  for (const char letter : text) {
    if (left + kGlyphWidth > right) return;
    const uint64_t rows = glyph_of(letter);
    for (int64_t y = 0; y < kGlyphHeight && top + y < image.height; ++y)
      for (int64_t x = 0; x < kGlyphWidth; ++x) {
        const int64_t bit = kGlyphWidth * (kGlyphHeight - 1 - y) + kGlyphWidth - 1 - x;
        if ((rows >> bit & 1) == 0) continue;
        for (int64_t c = 0; c < 3; ++c)
          image.pixels[static_cast<size_t>(((top + y) * image.width + left + x) * 3 + c)] = 0;
      }
    left += kAdvance;
  }
}

RgbImage contact_sheet(const std::vector<std::vector<Panel>>& rows) {
  RgbImage sheet{.height = kMargin, .width = 0};
  std::vector<int64_t> heights;
  for (const auto& row : rows) {
    int64_t high = 0, wide = kMargin;
    for (const Panel& panel : row) {
      high = std::max(high, panel.image.height + 2 + kLine * static_cast<int64_t>(panel.lines.size()));
      wide += panel.image.width + kMargin;
    }
    heights.push_back(high);
    sheet.height += high + kMargin;
    sheet.width = std::max(sheet.width, wide);
  }
  if (sheet.width == 0) throw Error("contact sheet: expected a picture, got none");
  sheet.pixels.assign(static_cast<size_t>(sheet.height * sheet.width * 3), 255);
  int64_t top = kMargin;
  for (size_t r = 0; r < rows.size(); ++r) {
    int64_t left = kMargin;
    for (const Panel& panel : rows[r]) {
      const RgbImage& image = panel.image;
      for (int64_t y = 0; y < image.height; ++y)
        std::copy_n(image.pixels.begin() + y * image.width * 3, image.width * 3,
                    sheet.pixels.begin() + ((top + y) * sheet.width + left) * 3);
      int64_t line = top + image.height + 3;
      for (const std::string& text : panel.lines) {
        draw_text(sheet, line, left, image.width, text);
        line += kLine;
      }
      left += image.width + kMargin;
    }
    top += heights[r] + kMargin;
  }
  return sheet;
}

}  // namespace tidepool
