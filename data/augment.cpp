#include "data/augment.h"

#include <algorithm>
#include <cmath>

#include "core/dtype.h"
#include "core/error.h"
#include "core/philox.h"
#include "data/streams.h"

namespace tidepool {

void check_augment(const AugmentOptions& options) {
  const std::vector<std::string> types = {"standard", "none"};
  if (std::find(types.begin(), types.end(), options.type) == types.end()) {
    throw Error("data.augment: expected 'standard' or 'none', got '{}'{}", options.type,
                did_you_mean(options.type, types));
  }
  if (options.padding < 0) throw Error("data.augment: padding: expected 0 or more pixels, got {}", options.padding);
}

std::array<uint32_t, 4> image_words(uint64_t seed, int64_t epoch, int64_t index) {
  return random_words(seed, name_seed(Purpose::kAugmentation, static_cast<uint64_t>(epoch)),
                      static_cast<uint64_t>(index));
}

Crop draw_crop(const AugmentOptions& options, const std::optional<std::array<uint32_t, 4>>& words, int64_t height,
               int64_t width, const ImageShape& shown) {
  // The result has `scale` pixels for each of the image's; 1 where the image is no smaller and fits one side.
  const double scale = std::max(static_cast<double>(shown.height) / static_cast<double>(height),
                                static_cast<double>(shown.width) / static_cast<double>(width));
  const bool random = words && options.type != "none";
  const int64_t padding = random ? options.padding : 0;
  const auto begin = [&](int64_t length, int64_t wanted, uint32_t word) {
    const double middle = (static_cast<double>(length) - static_cast<double>(wanted) / scale) / 2;
    if (!random) return scale == 1 ? std::floor(middle) : middle;
    const int64_t free = std::max<int64_t>(0, std::llround(static_cast<double>(length) * scale) - wanted);
    const auto positions = static_cast<uint64_t>(free + 2 * padding + 1);
    return static_cast<double>(static_cast<int64_t>(word * positions >> 32) - padding) / scale;
  };
  return {.top = begin(height, shown.height, random ? (*words)[0] : 0),
          .left = begin(width, shown.width, random ? (*words)[1] : 0),
          .height = static_cast<double>(shown.height) / scale,
          .width = static_cast<double>(shown.width) / scale,
          .flip = random && options.flip && (*words)[2] >> 31 != 0};
}

bool is_exact(const Crop& crop, const ImageShape& shown) {
  return crop.height == static_cast<double>(shown.height) && crop.width == static_cast<double>(shown.width) &&
         crop.top == std::floor(crop.top) && crop.left == std::floor(crop.left);
}

namespace {

// One row of one channel, every `step` bytes (0: as `column_stride` says).
template <int64_t kStep, class T>
void show_row(const uint8_t* from, int64_t step, int64_t begin, int64_t end, int64_t width, bool flip,
              const std::array<T, 256>& values, T* to, int64_t channels) {
  if (kStep != 0) step = kStep;
  const auto put = [&](int64_t column, T value) { to[(flip ? width - 1 - column : column) * channels] = value; };
  for (int64_t column = 0; column < begin; ++column) put(column, values[0]);
  for (int64_t column = begin; column < end; ++column) put(column, values[from[column * step]]);
  for (int64_t column = end; column < width; ++column) put(column, values[0]);
}

}  // namespace

template <class T>
void show_exactly(const Sample& sample, const Crop& crop, const ImageShape& shown, const ByteTable<T>& table, T* y) {
  const int64_t c = shown.channels, h = shown.height, w = shown.width;
  const auto top = static_cast<int64_t>(crop.top), left = static_cast<int64_t>(crop.left);
  // Columns [begin, end) of the crop lie inside the image.
  const int64_t begin = std::clamp<int64_t>(-left, 0, w), end = std::clamp<int64_t>(sample.width - left, begin, w);
  for (int64_t row = 0; row < h; ++row) {
    const bool outside = row + top < 0 || row + top >= sample.height;
    for (int64_t channel = 0; channel < c; ++channel) {
      const auto& values = table[static_cast<size_t>(channel)];
      const uint8_t* const from = sample.pixels + channel * sample.channel_stride +
                                  (outside ? 0 : row + top) * sample.row_stride + left * sample.column_stride;
      T* const to = y + row * w * c + channel;
      const int64_t first = outside ? w : begin, last = outside ? w : end;
      if (sample.column_stride == 1)
        show_row<1>(from, 1, first, last, w, crop.flip, values, to, c);
      else
        show_row<0>(from, sample.column_stride, first, last, w, crop.flip, values, to, c);
    }
  }
}
template void show_exactly(const Sample&, const Crop&, const ImageShape&, const ByteTable<float>&, float*);
template void show_exactly(const Sample&, const Crop&, const ImageShape&, const ByteTable<bf16>&, bf16*);
template void show_exactly(const Sample&, const Crop&, const ImageShape&, const ByteTable<double>&, double*);

void show_resampled(const Sample& sample, const Crop& crop, const ImageShape& shown, float* y,
                    ResampleScratch& scratch) {
  fill_region_filter(sample.height, crop.top, crop.height, shown.height, false, scratch.rows);
  fill_region_filter(sample.width, crop.left, crop.width, shown.width, crop.flip, scratch.columns);
  const StridedBytes x{sample.pixels, sample.channel_stride, sample.row_stride, sample.column_stride};
  resample_bytes(x, shown.channels, scratch.rows, scratch.columns, 1.0f / 255.0f, y, scratch.line);
}

void show_labels(const Sample& sample, const Crop& crop, const ImageShape& shown, int32_t* y) {
  const auto nearest = [](double begin, double length, int64_t out, int64_t i) {
    return static_cast<int64_t>(
        std::floor(begin + (static_cast<double>(i) + 0.5) * (length / static_cast<double>(out))));
  };
  for (int64_t row = 0; row < shown.height; ++row) {
    const int64_t from_row = nearest(crop.top, crop.height, shown.height, row);
    const bool outside = from_row < 0 || from_row >= sample.height;
    const uint8_t* const line = sample.label_map + (outside ? 0 : from_row) * sample.width;
    for (int64_t column = 0; column < shown.width; ++column) {
      const int64_t from = nearest(crop.left, crop.width, shown.width, crop.flip ? shown.width - 1 - column : column);
      *y++ = outside || from < 0 || from >= sample.width ? kIgnoredLabel : line[from];
    }
  }
}

}  // namespace tidepool
