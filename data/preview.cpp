#include "data/preview.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/transform.h"
#include "data/voc_colours.h"

namespace tidepool {

namespace {

// Fills the square of the sheet whose top left pixel is (top, left) with `colour(y, x)` of each pixel of the image.
template <class F>
void fill_cell(RgbImage& sheet, int64_t top, int64_t left, const ImageShape& shape, int64_t scale, const F& colour) {
  for (int64_t y = 0; y < shape.height * scale; ++y) {
    uint8_t* to = sheet.pixels.data() + ((top + y) * sheet.width + left) * 3;
    for (int64_t x = 0; x < shape.width * scale; ++x)
      for (const uint8_t byte : colour(y / scale, x / scale)) *to++ = byte;
  }
}

}  // namespace

RgbImage make_preview(const Dataset& dataset, const PreviewOptions& options) {
  const DatasetFormat format = dataset.format();
  const ImageShape& shape = format.shape;
  if (shape.channels != 3) throw Error("preview: {} has {} channels, expected 3", dataset.name(), shape.channels);
  if (options.images.empty() || options.variants.empty()) throw Error("preview: no image or no variant to show");
  if (options.scale < 1 || options.scale > 64 || options.margin < 0 || options.margin > 1024) {
    throw Error("preview: expected a scale of 1 to 64 and a margin of 0 to 1024, got {} and {}", options.scale,
                options.margin);
  }
  for (const int64_t index : options.images)
    if (index < 0 || index >= dataset.size())
      throw Error("preview: expected an image from 0 to {}, got {}", dataset.size() - 1, index);
  const int64_t high = shape.height * options.scale, wide = shape.width * options.scale, margin = options.margin;
  const auto variants = static_cast<int64_t>(options.variants.size()), rows = variants + (format.label_maps ? 1 : 0),
             columns = static_cast<int64_t>(options.images.size());
  RgbImage sheet{.height = margin + rows * (high + margin), .width = margin + columns * (wide + margin), .pixels = {}};
  constexpr int64_t kMostPixels = int64_t{1} << 28;
  if (sheet.height > kMostPixels / sheet.width)
    throw Error("preview: expected a sheet of at most 2^28 pixels, got {} x {}: fewer images, or a smaller scale",
                sheet.width, sheet.height);
  sheet.pixels.assign(static_cast<size_t>(sheet.height * sheet.width * 3), 255);
  std::vector<Transform> transforms;
  for (const VariantOptions& variant : options.variants) {
    expect_variant_fits(variant, dataset.name(), format);
    transforms.emplace_back(shape, AugmentOptions{.type = "none", .cropping = format.cropping}, variant);
  }
  TransformScratch scratch;
  Sample sample;
  std::vector<float> image(static_cast<size_t>(shape.elements()));
  std::vector<int32_t> labels(static_cast<size_t>(shape.height * shape.width));
  for (int64_t column = 0; column < columns; ++column) {
    dataset.read(options.images[static_cast<size_t>(column)], sample);
    const int64_t left = margin + column * (wide + margin);
    for (int64_t row = 0; row < variants; ++row) {
      transforms[static_cast<size_t>(row)].image(sample, std::nullopt, image.data(), scratch);
      fill_cell(sheet, margin + row * (high + margin), left, shape, options.scale, [&](int64_t y, int64_t x) {
        std::array<uint8_t, 3> bytes{};
        for (size_t c = 0; c < 3; ++c) {
          const float value = image[static_cast<size_t>(y * shape.width + x) * 3 + c];
          bytes[c] = static_cast<uint8_t>(std::lround(std::clamp(value, 0.f, 1.f) * 255));
        }
        return bytes;
      });
    }
    if (!format.label_maps) continue;
    transforms.front().labels(sample, std::nullopt, labels.data());
    fill_cell(sheet, margin + variants * (high + margin), left, shape, options.scale, [&](int64_t y, int64_t x) {
      return kVocColours[static_cast<size_t>(labels[static_cast<size_t>(y * shape.width + x)])];
    });
  }
  return sheet;
}

std::vector<int64_t> preview_indices(const Dataset& dataset, int64_t count) {
  count = std::min(count, dataset.size());
  std::vector<int64_t> chosen;
  if (dataset.format().label_maps) {
    for (int64_t i = 0; i < count; ++i) chosen.push_back(i);
    return chosen;
  }
  std::vector<std::vector<int64_t>> of_class(static_cast<size_t>(dataset.classes()));
  for (int64_t i = 0; i < dataset.size(); ++i) of_class[static_cast<size_t>(dataset.label(i))].push_back(i);
  for (size_t turn = 0; static_cast<int64_t>(chosen.size()) < count; ++turn) {
    for (const auto& indices : of_class) {
      if (turn < indices.size() && static_cast<int64_t>(chosen.size()) < count) chosen.push_back(indices[turn]);
    }
  }
  return chosen;
}

}  // namespace tidepool
