// How a map is divided into tiles. Tiles of 4x4 cover maps whose sides are no multiples of 4 at a price: of a 5x5 map
// they compute 8x8. There the last columns and the last rows get tiles of their own that are as narrow as they are, or
// all tiles are 3x3.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "core/winograd/tiles.h"

namespace tidepool::winograd {

/// What a part costs beside its multiplications, in tiles: its weights are transformed for it alone. Measured on layers
/// of 64 to 512 channels.
inline constexpr int64_t kPartTiles = 64;

/// The parts of a map: tiles of one size each, which cover all of it once.
class Parts {
 public:
  /// m: the largest tile's side, 2 or 4. A function of the shape alone.
  static Parts of(int m, int64_t images, int64_t height, int64_t width) {
    if (m == 2) return same(2, images, height, width);
    Parts best = same(4, images, height, width);
    const auto consider = [&](const Parts& other) {
      if (other.points(kPartTiles) < best.points(kPartTiles)) best = other;
    };
    consider(same(3, images, height, width));
    for (const bool bottom : {false, true})
      for (const bool right : {false, true})
        if ((bottom || right) && (!bottom || height % 4 != 0) && (!right || width % 4 != 0))
          consider(divided(images, height, width, bottom, right));
    return best;
  }
  std::span<const Tiles> all() const& { return {tiles_.data(), count_}; }
  std::span<const Tiles> all() const&& = delete;  // they would be gone

  /// Multiplications for one pair of channels; `more` tiles are added to each part.
  int64_t points(int64_t more = 0) const {
    int64_t sum = 0;
    for (const Tiles& t : all()) sum += (t.count() + more) * points_of(t.height) * points_of(t.width);
    return sum;
  }

 private:
  static int64_t points_of(int64_t side) { return side + 2; }

  static Parts same(int64_t side, int64_t images, int64_t height, int64_t width) {
    Parts parts;
    parts.add({images, height, width, side, side, 0, 0, (height + side - 1) / side, (width + side - 1) / side});
    return parts;
  }
  // `bottom`, `right`: the last rows, columns get tiles of their own; the corner belongs to the columns.
  static Parts divided(int64_t images, int64_t height, int64_t width, bool bottom, bool right) {
    const auto cover = [](int64_t length) { return (length + 3) / 4; };
    const int64_t rows = bottom ? height / 4 : cover(height), columns = right ? width / 4 : cover(width);
    Parts parts;
    parts.add({images, height, width, 4, 4, 0, 0, rows, columns});
    if (right) parts.add({images, height, width, 4, width % 4, 0, 4 * columns, cover(height), 1});
    if (bottom) parts.add({images, height, width, height % 4, 4, 4 * rows, 0, 1, columns});
    return parts;
  }
  void add(const Tiles& t) {
    if (t.count() > 0) tiles_[count_++] = t;
  }

  std::array<Tiles, 3> tiles_{};
  size_t count_ = 0;
};

/// Calls f.operator()<F>() with the Filtering that makes such tiles.
template <class Fn>
void with_filtering(const Tiles& t, const Fn& f) {
  switch (std::max(t.height, t.width) * 10 + std::min(t.height, t.width)) {
    case 22:
      return f.template operator()<Filtering<2, 2>>();
    case 33:
      return f.template operator()<Filtering<3, 3>>();
    case 41:
      return f.template operator()<Filtering<4, 1>>();
    case 42:
      return f.template operator()<Filtering<4, 2>>();
    case 43:
      return f.template operator()<Filtering<4, 3>>();
    default:
      return f.template operator()<Filtering<4, 4>>();
  }
}

}  // namespace tidepool::winograd
