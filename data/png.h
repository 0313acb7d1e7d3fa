// Pictures as PNG files.
#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

namespace tidepool {

/// 8 bits a channel, (height, width, 3), rows from the top.
struct RgbImage {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> pixels = {};
};

/// Whole or not at all under its final name. Errors as AtomicFile's, and for a picture without pixels.
void write_png(const std::filesystem::path& path, const RgbImage& image);

/// Any PNG as RGB, transparency over black. Error when the file is missing or no PNG.
RgbImage read_png(const std::filesystem::path& path);

}  // namespace tidepool
