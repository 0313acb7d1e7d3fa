// What the two drivers (filter.h, weight_gradient.h) share: the problem, shares of threads, and a map as both see it.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

#include "core/cpu/flush_denormals.h"
#include "core/cpu/winograd/product.h"
#include "core/cpu/winograd/tiling.h"
#include "core/tensor.h"

namespace tidepool::winograd {

/// A convolution, 3x3, stride 1: x [images, height, width, inputs], y [images, height + 2 pad_h - 2, ..., outputs],
/// w [outputs, inputs, 3, 3]. Paddings are 0 to 2.
struct Problem {
  int64_t images, inputs, outputs, height, width, pad_h = 1, pad_w = 1;

  int64_t out_height() const { return height + 2 * pad_h - 2; }
  int64_t out_width() const { return width + 2 * pad_w - 2; }
};

/// Divides n into chunks of about `target`: 1, 2, 4 or a multiple of 8 of them, so that 2, 4 or 8 threads get equal
/// shares.
inline int64_t chunk_of(int64_t n, int64_t target) {
  int64_t chunks = (n + target - 1) / target;
  chunks = chunks > 4 ? (chunks + 7) / 8 * 8 : chunks == 3 ? 4 : chunks;
  return (n + chunks - 1) / chunks;
}

/// The height of the register blocks that `rows` rows are divided into evenly.
template <class V>
int64_t row_block(int64_t rows) {
  const int64_t blocks = (rows + kRows<V> - 1) / kRows<V>;
  return (rows + blocks - 1) / blocks;
}

/// This thread's share of `count`, in a parallel region: [first, second), neighbours.
inline std::pair<int64_t, int64_t> own_share(int64_t count) {
  const int64_t self = omp_get_thread_num(), threads = omp_get_num_threads();
  return {count * self / threads, count * (self + 1) / threads};
}

/// Scratch memory of `count` floats.
inline Tensor room(int64_t count) {
  return Tensor::empty({count});
}

/// Calls f.operator()<columns>() with the vectors that panel n of `results` channels has.
template <class V, class F>
TP_INLINE void with_columns(int64_t results, int64_t n, const F& f) {
  if (results - n * kColumns * kLanes < V >> kLanes<V>)
    f.template operator()<kColumns>();
  else
    f.template operator()<1>();
}

/// A map as the drivers see it: transformed a run of tiles at a time, whatever it is read from (sources.h).
struct TiledMap {
  /// Transforms tiles [begin, end) to rows of a block from `row` on.
  std::function<void(int64_t begin, int64_t end, int64_t row, const Block& to)> transform;
  /// Adds what they read.
  std::function<void(PrefetchQueue& soon, int64_t begin, int64_t end)> prefetch;
};

/// A map of [images, height, width], padded by pad_h and pad_w on each side.
struct MapPadding {
  int64_t height, width, pad_h, pad_w;
};

/// transform_tiles() of a map. `source` and `tiles` must outlive it.
template <class F, bool kGradient, class V, class Source>
TiledMap tiled_map(const Source& source, const Tiles& tiles, const MapPadding& m) {
  return {[=, &source, &tiles](int64_t begin, int64_t end, int64_t row, const Block& to) {
            transform_tiles<F, kGradient, V>(source, tiles, m.height, m.width, m.pad_h, m.pad_w, begin, end, row, to);
          },
          [=, &source, &tiles](PrefetchQueue& soon, int64_t begin, int64_t end) {
            add_tiles(soon, source, tiles, begin, end, m.height, m.width, kGradient ? 0 : 2 - m.pad_h);
          }};
}

/// Makes the TiledMap of a convolution's tiles, which are chosen by the driver.
using MakeTiledMap = std::function<TiledMap(const Tiles& tiles, const MapPadding& m)>;

}  // namespace tidepool::winograd
