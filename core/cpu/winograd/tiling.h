// How large the tiles of a map are: all have one size, with sides that suit the map's. A map of 6x10 is covered by 3x5.
#pragma once
#include <cstdint>
#include <iterator>
#include <utility>

#include "core/cpu/winograd/tiles.h"

namespace tidepool::winograd {

/// Axes of one and of two pixels that are padded by 1.
inline constexpr Side kOne{1, true}, kTwo{2, true};

/// The sides of tiles that are compiled, the longer first; a tile lies either way. Each gains about a tenth or
/// more on the maps that it serves, of 1 to 20 pixels a side; 5x4 and 5x5 would gain 2 to 4 in a hundred.
inline constexpr Side kTileSides[][2] = {{kOne, kOne}, {{2}, {2}},  {kTwo, kOne}, {kTwo, kTwo}, {{3}, kOne},
                                         {{3}, kTwo},  {{3}, {3}},  {{4}, kOne},  {{4}, kTwo},  {{4}, {3}},
                                         {{4}, {4}},   {{5}, kOne}, {{5}, kTwo},  {{5}, {3}}};

/// What transforming the weights costs beside a tile's multiplications, in tiles. Measured on layers of 64 to 512
/// channels.
inline constexpr int64_t kWeightTiles = 64;

/// The tiles of results with the fewest multiplications: m is 2, for 2x2 alone, or 4, for all sizes. A function of the
/// shape alone.
inline Tiles tiles_of(int m, int64_t images, int64_t height, int64_t width, int64_t pad_h, int64_t pad_w) {
  if (m == 2) return {images, height, width, {2}, {2}};
  const auto serves = [](Side side, int64_t length, int64_t pad) {
    return !side.whole || (length == side.results && pad == 1);
  };
  const auto cost = [](const Tiles& t) { return (t.count() + kWeightTiles) * t.points(); };
  Tiles best{images, height, width, {4}, {4}};
  for (const auto& [longer, shorter] : kTileSides)
    for (const Tiles& tiles :
         {Tiles{images, height, width, longer, shorter}, Tiles{images, height, width, shorter, longer}})
      if (serves(tiles.down, height, pad_h) && serves(tiles.across, width, pad_w) && cost(tiles) < cost(best))
        best = tiles;
  return best;
}

/// Calls f.operator()<F>() with the Filtering that makes such tiles.
template <class Fn>
void with_filtering(const Tiles& t, const Fn& f) {
  const auto is = [&](Side a, Side b) { return (t.down == a && t.across == b) || (t.down == b && t.across == a); };
  [&]<size_t... i>(std::index_sequence<i...>) {
    (void)((is(kTileSides[i][0], kTileSides[i][1]) &&
            (f.template operator()<Filtering<kTileSides[i][0], kTileSides[i][1]>>(), true)) ||
           ...);
  }
  (std::make_index_sequence<std::size(kTileSides)>{});
}

}  // namespace tidepool::winograd
