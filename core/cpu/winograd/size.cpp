// The rule that says when our own 3x3 convolutions are the faster ones.
#include <algorithm>

#include "core/cpu/winograd/convolve.h"
#include "core/cpu/winograd/tiling.h"

namespace tidepool {

// Multiplications beside the direct algorithm's, times what a multiplication costs here: 1.55 of the library's in wide
// layers (transforms, memory), more in narrow ones, where the transforms are a larger share. Fitted to timings on two
// cores of a Sapphire Rapids, widths 1/4 to 1, maps of 1 to 32; `tidepool bench conv` says of a config where it is
// wrong on this machine. It is a rule and not a timing in the run, so that a seed always gives the same bits.
int winograd_size(const Dims& map, const Dims& weight, const ConvOptions& o) {
  const auto out = [&](int axis) { return map[axis] + 2 * o.padding[static_cast<size_t>(axis - 2)] - 2; };
  const int64_t h = out(2), w = out(3);
  const auto tiles_of = [&](int m) {
    return winograd::tiles_of(m, std::max<int64_t>(1, map[0]), h, w, o.padding[0], o.padding[1]);
  };
  const auto points = [&](int m) {
    const winograd::Tiles tiles = tiles_of(m);
    return static_cast<double>(tiles.rows * tiles.columns * tiles.points());
  };
  // Of an axis of one pixel we form the one product that is not 0: three to ten times as fast at any width.
  if (const winograd::Tiles tiles = tiles_of(4); tiles.down == winograd::kOne || tiles.across == winograd::kOne)
    return 4;
  constexpr double kLargeTile = 1.17;  // what a point of larger tiles costs beside one of F(2x2)
  const double four = kLargeTile * points(4), two = points(2);
  // A map of one pixel meets one tap of three when it is padded.
  const auto taps = [](int64_t length, int64_t padding) { return length == 1 && padding > 0 ? 1.0 : 3.0; };
  const double direct = static_cast<double>(h * w) * taps(map[2], o.padding[0]) * taps(map[3], o.padding[1]);
  const auto narrow = static_cast<double>(std::min(weight[0], weight[1]));
  const double cost = std::min(four / kLargeTile, two) / direct * 1.55 * (1 + 12 / narrow);
  if (cost >= 1) return 0;
  return four < two ? 4 : 2;
}

}  // namespace tidepool
