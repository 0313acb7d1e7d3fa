#include "data/preview.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/transform.h"

namespace tidepool {

RgbImage make_preview(const Source& source, const PreviewOptions& options) {
  const ImageShape shape = source.shape();
  if (shape.channels != 3) throw Error("preview: {} has {} channels, expected 3", source.name(), shape.channels);
  if (options.images.empty() || options.variants.empty()) throw Error("preview: no image or no variant to show");
  if (options.scale < 1 || options.scale > 64 || options.margin < 0 || options.margin > 1024) {
    throw Error("preview: expected a scale of 1 to 64 and a margin of 0 to 1024, came {} and {}", options.scale,
                options.margin);
  }
  const int64_t high = shape.height * options.scale, wide = shape.width * options.scale, margin = options.margin;
  const auto rows = static_cast<int64_t>(options.variants.size()),
             columns = static_cast<int64_t>(options.images.size());
  RgbImage sheet{.height = margin + rows * (high + margin), .width = margin + columns * (wide + margin), .pixels = {}};
  sheet.pixels.assign(static_cast<size_t>(sheet.height * sheet.width * 3), 255);
  TransformScratch scratch;
  std::vector<float> image(static_cast<size_t>(shape.elements()));
  for (int64_t row = 0; row < rows; ++row) {
    const Transform transform(shape, {.type = "none"}, options.variants[static_cast<size_t>(row)]);
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t index = options.images[static_cast<size_t>(column)];
      if (index < 0 || index >= source.size()) {
        throw Error("preview: expected an image from 0 to {}, came {}", source.size() - 1, index);
      }
      transform.apply(source.pixels(index), std::nullopt, image.data(), scratch);
      for (int64_t y = 0; y < high; ++y) {
        const int64_t line = margin + row * (high + margin) + y;
        uint8_t* to = sheet.pixels.data() + (line * sheet.width + margin + column * (wide + margin)) * 3;
        for (int64_t x = 0; x < wide; ++x) {
          const float* const from = image.data() + (y / options.scale * shape.width + x / options.scale) * 3;
          for (int64_t c = 0; c < 3; ++c)
            *to++ = static_cast<uint8_t>(std::lround(std::clamp(from[c], 0.f, 1.f) * 255));
        }
      }
    }
  }
  return sheet;
}

std::vector<int64_t> preview_indices(const Source& source, int64_t count) {
  std::vector<std::vector<int64_t>> of_class(static_cast<size_t>(source.classes()));
  for (int64_t i = 0; i < source.size(); ++i) of_class[static_cast<size_t>(source.label(i))].push_back(i);
  std::vector<int64_t> chosen;
  count = std::min(count, source.size());
  for (size_t turn = 0; static_cast<int64_t>(chosen.size()) < count; ++turn) {
    for (const auto& indices : of_class) {
      if (turn < indices.size() && static_cast<int64_t>(chosen.size()) < count) chosen.push_back(indices[turn]);
    }
  }
  return chosen;
}

}  // namespace tidepool
