// A map's new lengths, given as they are or as a share of the old ones: the keys `output_size` and `ratio`.
#pragma once
#include "layers/pool/geometry.h"
#include "layers/pool/keys.h"
#include "layers/trace.h"

namespace tidepool {

struct ScaleOptions {
  PerAxis<int64_t> output_size{};
  PerAxis<double> ratio{};

  void keys(Keys& k);
  /// Throws Error when both are given.
  void check(const char* op) const;
  /// Lengths of the axes D, H, W of the output: output_size, or max(1, floor(n ratio)). Throws Error for a rank that is
  /// not listed, an axis without positions or another number of axes.
  std::array<int64_t, 3> lengths(const char* op, const Dims& x, std::initializer_list<int> ranks) const;
  /// The map after it, straight through the rounding of n ratio; an output size passes no slope on.
  TracedShape trace(const TracedShape& x, const Dims& y) const;

 private:
  double share(int axis) const { return ratio.count > 0 ? ratio[axis] : 0.5; }
};

}  // namespace tidepool
