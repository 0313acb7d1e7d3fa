// The toy variants of a data set, made from the (augmented) image on the fly. They are ours, no paper's.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/keys.h"
#include "data/dataset.h"
#include "data/resample.h"

namespace tidepool {

/// Config key data.variant: a type, and the keys of each.
struct VariantOptions {
  std::string type = "none";  ///< none, stretch_v, stretch_h, tile, large
  double factor = 2.0;        ///< stretch_v, stretch_h: how much longer the axis becomes before the crop, >= 1
  int64_t grid = 4;           ///< tile: copies along each axis; divides height and width
  int64_t size = 8;           ///< large: height and width to which the image is shrunk; not above its own

  void keys(Keys& k);
};

/// A variant made ready for images of one shape. The result has the image's own shape.
/// stretch_v: bilinear (half-pixel centres) to round(factor * height) rows, then a crop of `height` rows; stretch_h
/// alike, columns. tile: area average to (height / grid, width / grid), repeated grid x grid times. large: area average
/// to (size, size), bilinear back to (height, width).
class Variant {
 public:
  /// Errors name the key data.variant.*.
  Variant(const VariantOptions& options, ImageShape shape);

  bool is_none() const { return kind_ == Kind::kNone; }
  /// x, y: (height, width, channels) f32, not overlapping. `draw` is a random word that places the crop of a stretch;
  /// without one (evaluation) it is the middle one. `scratch` grows as needed and is reused.
  void apply(const float* x, float* y, std::optional<uint32_t> draw, std::vector<float>& scratch) const;

 private:
  enum class Kind { kNone, kStretch, kTile, kLarge };
  Kind kind_ = Kind::kNone;
  ImageShape shape_;
  int64_t grid_ = 1;
  AxisFilter rows_, columns_;            // stretch; the shrinking of tile and large
  AxisFilter rows_back_, columns_back_;  // large
};

}  // namespace tidepool
