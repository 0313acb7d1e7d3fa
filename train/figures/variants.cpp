#include "train/figures/variants.h"

#include <fmt/format.h>

#include <cmath>

#include "data/preview.h"
#include "train/figures/chart.h"

namespace tidepool::figures {

std::string variant_name(const VariantOptions& variant) {
  return variant.type == "none" ? "plain" : variant.type;
}

std::string variant_note(const VariantOptions& v, const ImageShape& shape) {
  const auto stretched = [&](int64_t length) {
    return static_cast<int64_t>(std::lround(v.factor * static_cast<double>(length)));
  };
  if (v.type == "stretch_v")
    return fmt::format("to {}x{}, middle {} rows", stretched(shape.height), shape.width, shape.height);
  if (v.type == "stretch_h")
    return fmt::format("to {}x{}, middle {} columns", shape.height, stretched(shape.width), shape.width);
  if (v.type == "tile")
    return fmt::format("to {}x{}, {}x{} copies", shape.height / v.grid, shape.width / v.grid, v.grid, v.grid);
  if (v.type == "large") return fmt::format("to {}x{}, back to {}x{}", v.size, v.size, shape.height, shape.width);
  return fmt::format("{}x{} as it is", shape.height, shape.width);
}

Drawing draw_variants(const Dataset& dataset, const VariantSheetOptions& options) {
  constexpr double kMargin = 12, kGap = 5, kNames = 150, kSmall = 9.5;
  const ImageShape shape = dataset.format().shape;
  const std::vector<int64_t> images = preview_indices(dataset, options.images);
  const double wide = static_cast<double>(shape.width) * options.pixel,
               high = static_cast<double>(shape.height) * options.pixel;
  const auto rows = static_cast<double>(options.variants.size()), columns = static_cast<double>(images.size());
  Drawing drawing{.width = 2 * kMargin + kNames + columns * (wide + kGap) - kGap,
                  .height = 2 * kMargin + rows * (high + kGap) + 12,
                  .title = fmt::format("images of {} in {} variants", dataset.name(), options.variants.size())};
  drawing.ground();
  for (size_t row = 0; row < options.variants.size(); ++row) {
    const VariantOptions& variant = options.variants[row];
    const double top = kMargin + static_cast<double>(row) * (high + kGap);
    drawing.add(Text{.text = variant_name(variant), .at = {kMargin, top + high / 2 - 2}, .size = 13, .bold = true});
    drawing.add(Text{
        .text = variant_note(variant, shape), .at = {kMargin, top + high / 2 + 13}, .size = kSmall, .colour = kSoft});
    for (size_t column = 0; column < images.size(); ++column)
      drawing.add(
          Bitmap{make_preview(dataset, {.variants = {variant}, .images = {images[column]}, .scale = 1, .margin = 0}),
                 {kMargin + kNames + static_cast<double>(column) * (wide + kGap), top, wide, high}});
  }
  for (size_t column = 0; column < images.size(); ++column) {
    const std::string name(dataset.class_name(dataset.label(images[column])));
    drawing.add(Text{.text = fitted_text(name, wide + kGap - 2, kSmall),
                     .at = {kMargin + kNames + static_cast<double>(column) * (wide + kGap) + wide / 2,
                            kMargin + rows * (high + kGap) + 8},
                     .size = kSmall,
                     .anchor = Anchor::middle,
                     .colour = kSoft});
  }
  return drawing;
}

}  // namespace tidepool::figures
