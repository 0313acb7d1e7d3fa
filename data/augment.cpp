#include "data/augment.h"

#include <algorithm>

#include "core/error.h"
#include "core/philox.h"
#include "data/streams.h"

namespace tidepool {

void check_augment(const AugmentOptions& options) {
  const std::vector<std::string> types = {"standard", "none"};
  if (std::find(types.begin(), types.end(), options.type) == types.end()) {
    throw Error("data.augment: expected 'standard' or 'none', came '{}'{}", options.type,
                did_you_mean(options.type, types));
  }
  if (options.padding < 0) throw Error("data.augment: padding: expected 0 or more pixels, came {}", options.padding);
}

std::array<uint32_t, 4> image_words(uint64_t seed, int64_t epoch, int64_t index) {
  return random_words(seed, name_seed(Purpose::kAugmentation, static_cast<uint64_t>(epoch)),
                      static_cast<uint64_t>(index));
}

Augmentation draw_augmentation(const AugmentOptions& options, const std::array<uint32_t, 4>& words) {
  if (options.type == "none") return {};
  const auto shift = [&](uint32_t word) {
    const auto places = static_cast<uint64_t>(2 * options.padding + 1);
    return static_cast<int64_t>(word * places >> 32) - options.padding;
  };
  return {shift(words[0]), shift(words[1]), options.flip && words[2] >> 31 != 0};
}

void augment(const uint8_t* x, const ImageShape& shape, const Augmentation& augmentation, const ByteTable& table,
             float* y) {
  const int64_t c = shape.channels, h = shape.height, w = shape.width;
  const auto [top, left, flip] = augmentation;
  // Columns [begin, end) of the crop lie inside the image.
  const int64_t begin = std::clamp<int64_t>(-left, 0, w), end = std::clamp<int64_t>(w - left, begin, w);
  for (int64_t row = 0; row < h; ++row) {
    const bool outside = row + top < 0 || row + top >= h;
    for (int64_t channel = 0; channel < c; ++channel) {
      const auto& values = table[static_cast<size_t>(channel)];
      const uint8_t* const from = x + (channel * h + (outside ? 0 : row + top)) * w;
      float* const to = y + row * w * c + channel;
      const auto put = [&](int64_t column, float value) { to[(flip ? w - 1 - column : column) * c] = value; };
      const int64_t first = outside ? w : begin, last = outside ? w : end;
      for (int64_t column = 0; column < first; ++column) put(column, values[0]);
      for (int64_t column = first; column < last; ++column) put(column, values[from[column + left]]);
      for (int64_t column = last; column < w; ++column) put(column, values[0]);
    }
  }
}

}  // namespace tidepool
