// A sheet of pictures with a line or two of text under each.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/picture.h"

namespace tidepool {

/// A picture made small for a sheet.
struct Panel {
  RgbImage image;
  std::vector<std::string> lines;  ///< under it; what is wider than the panel is cut off
};

/// `picture` as RGB of `height` x `width` pixels: shrunk by area, enlarged by repeating pixels; alpha over white.
RgbImage panel_image(const Picture& picture, int64_t height, int64_t width);

/// Panels side by side, one row of the sheet for each list, top left; white between them.
RgbImage contact_sheet(const std::vector<std::vector<Panel>>& rows);

/// Draws text in black, 6 x 10 pixels per character, into an image, cut off at its right border and at `width` pixels.
void draw_text(RgbImage& image, int64_t top, int64_t left, int64_t width, std::string_view text);

}  // namespace tidepool
