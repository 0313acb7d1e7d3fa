#include "data/variant.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace tidepool {
namespace {

constexpr double kMaxFactor = 64;
constexpr long double kMostPixels = 65536;

}  // namespace

void VariantOptions::keys(Keys& k) {
  k.select("type", type, "What is done.").required();
  k.option("none", "The image as it is.");
  k.option("stretch_v",
           "Stretched downwards, then cropped to its old height: random rows in training, the middle ones in "
           "evaluation.");
  k.number("factor", factor, "How many times higher the stretched image is.").at_least(1).at_most(kMaxFactor);
  k.option("stretch_h",
           "Stretched sideways, then cropped to its old width: random columns in training, the middle ones in "
           "evaluation.");
  k.number("factor", factor, "How many times wider the stretched image is.").at_least(1).at_most(kMaxFactor);
  k.option("tile", "Shrunk (area average) and repeated: all information is in small local detail.");
  k.integer("grid", grid, "Copies along each axis; 4 makes copies of 8x8 pixels.").at_least(1).at_most(kMostPixels);
  k.option("large", "Shrunk (area average) and enlarged again (bilinear): no local detail at all.");
  k.integer("size", size, "Height and width in pixels that the image is shrunk to.").at_least(1).at_most(kMostPixels);
}

Variant::Variant(const VariantOptions& options, ImageShape shape) : shape_(shape) {
  const std::string& type = options.type;
  const int64_t h = shape.height, w = shape.width;
  if (type == "stretch_v" || type == "stretch_h") {
    if (!(options.factor >= 1 && options.factor <= kMaxFactor)) {
      throw Error("data.variant.factor: expected a number from 1 to {}, got {}", kMaxFactor, options.factor);
    }
    const auto longer = [&](int64_t length) { return std::llround(options.factor * static_cast<double>(length)); };
    kind_ = Kind::kStretch;
    rows_ = bilinear_filter(h, type == "stretch_v" ? longer(h) : h);
    columns_ = bilinear_filter(w, type == "stretch_h" ? longer(w) : w);
  } else if (type == "tile") {
    if (options.grid < 1 || h % options.grid != 0 || w % options.grid != 0) {
      throw Error("data.variant.grid: expected a number that divides the image's {}x{}, got {}", h, w, options.grid);
    }
    kind_ = Kind::kTile;
    grid_ = options.grid;
    rows_ = area_filter(h, h / grid_);
    columns_ = area_filter(w, w / grid_);
  } else if (type == "large") {
    if (options.size < 1 || options.size > std::min(h, w)) {
      throw Error("data.variant.size: expected 1 to {} (the image has {}x{}), got {}", std::min(h, w), h, w,
                  options.size);
    }
    kind_ = Kind::kLarge;
    rows_ = area_filter(h, options.size);
    columns_ = area_filter(w, options.size);
    rows_back_ = bilinear_filter(options.size, h);
    columns_back_ = bilinear_filter(options.size, w);
  } else if (type != "none") {
    std::vector<std::string> names;
    for (const KeyOption& option : list_keys<VariantOptions>().options) names.push_back(option.name);
    throw Error("data.variant.type: no variant is called '{}'{}; there are: {}", type, did_you_mean(type, names),
                fmt::join(names, ", "));
  }
}

void Variant::apply(const float* x, float* y, std::optional<uint32_t> draw, std::vector<float>& scratch) const {
  const int64_t c = shape_.channels, h = shape_.height, w = shape_.width;
  if (kind_ == Kind::kNone) {
    std::copy_n(x, shape_.elements(), y);
    return;
  }
  if (kind_ == Kind::kStretch) {
    const auto begin = [&](int64_t free) {  // of the crop, in [0, free]
      if (!draw) return free / 2;
      return static_cast<int64_t>(uint64_t{*draw} * static_cast<uint64_t>(free + 1) >> 32);
    };
    resample(x, c, rows_, begin(rows_.out - h), h, columns_, begin(columns_.out - w), w, y, scratch);
    return;
  }
  // The small image stands at the end of the scratch, behind the line that resample needs.
  const int64_t line = w * c, small = rows_.out * columns_.out * c;
  if (static_cast<int64_t>(scratch.size()) < line + small) scratch.resize(static_cast<size_t>(line + small));
  float* const shrunk = scratch.data() + line;
  resample(x, c, rows_, 0, rows_.out, columns_, 0, columns_.out, shrunk, scratch);
  if (kind_ == Kind::kLarge) {
    resample(shrunk, c, rows_back_, 0, h, columns_back_, 0, w, y, scratch);
    return;
  }
  for (int64_t row = 0; row < h; ++row) {
    const float* const from = shrunk + row % rows_.out * columns_.out * c;
    for (int64_t copy = 0; copy < grid_; ++copy) {
      std::copy_n(from, columns_.out * c, y + row * line + copy * columns_.out * c);
    }
  }
}

}  // namespace tidepool
