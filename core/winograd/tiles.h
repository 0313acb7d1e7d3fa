// Tiles of a channels-last map: where they lie, and the passes between pixels and transformed points. A transformed
// block is V[point][row block][channel / L][row][channel % L], a row a tile, so that the product reads it in order.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/winograd/transform.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tidepool::winograd {

/// The m x m tiles that cover maps of [images, height, width].
struct Tiles {
  int64_t images, height, width;
  int64_t rows, columns;  ///< of tiles in an image

  static Tiles cover(int64_t images, int64_t height, int64_t width, int64_t m) {
    return {images, height, width, (height + m - 1) / m, (width + m - 1) / m};
  }
  int64_t count() const { return images * rows * columns; }
};

/// Walks tiles in order, images outermost.
struct TileCursor {
  int64_t image, row, column;

  TileCursor(const Tiles& t, int64_t index)
      : image(index / (t.rows * t.columns)), row(index / t.columns % t.rows), column(index % t.columns) {}
  void next(const Tiles& t) {
    if (++column < t.columns) return;
    column = 0;
    if (++row < t.rows) return;
    row = 0;
    ++image;
  }
};

/// The places (pixels of [images, height, width], in memory order) of a size x size patch; -1 outside the map.
template <int size>
struct Patch {
  int64_t first;  // of the top left pixel, which may lie outside
  bool inside;    // all of it
  int64_t width;
  int64_t places[size * size];

  Patch(int64_t height, int64_t width_, int64_t image, int64_t top, int64_t left)
      : first((image * height + top) * width_ + left),
        inside(top >= 0 && left >= 0 && top + size <= height && left + size <= width_),
        width(width_) {
    if (inside) return;
    for (int i = 0; i < size; ++i)
      for (int j = 0; j < size; ++j) {
        const bool in = top + i >= 0 && top + i < height && left + j >= 0 && left + j < width_;
        places[i * size + j] = in ? first + i * width_ + j : -1;
      }
  }
};

/// The first `count` lanes from memory, the others 0.
template <class V, class T>
TP_INLINE V load_some(const T* p, int64_t count) {
  V v{};
  for (int64_t i = 0; i < count; ++i) v[i] = static_cast<float>(p[i]);
  return v;
}
template <class V, class T>
TP_INLINE void store_some(T* p, V v, int64_t count) {
  for (int64_t i = 0; i < count; ++i) p[i] = static_cast<T>(v[i]);
}

/// A map as it lies in memory. Other sources (a batch norm to be applied on the way) look the same.
template <class T>
struct PlainSource {
  const T* data;
  int64_t channels;

  template <class V>
  struct Constants {};
  template <class V>
  Constants<V> constants(int64_t /*channel*/, int64_t /*count*/) const {
    return {};
  }
  template <class V>
  TP_INLINE V read(const Constants<V>&, int64_t place, int64_t channel) const {
    return load<V>(data + place * channels + channel);
  }
  template <class V>
  TP_INLINE V read_some(const Constants<V>&, int64_t place, int64_t channel, int64_t count) const {
    return load_some<V>(data + place * channels + channel, count);
  }
};

/// A patch of `source`, lanes from `channel` on; 0 outside the map.
template <int size, class V, class Source>
TP_INLINE void read_patch(const Source& source, const Patch<size>& patch, int64_t channel, V* pixels) {
  const int64_t count = source.channels - channel;
  const auto k = source.template constants<V>(channel, count);
  if (count < kLanes<V>) {
    for (int i = 0; i < size * size; ++i) {
      const int64_t place = patch.inside ? patch.first + i / size * patch.width + i % size : patch.places[i];
      pixels[i] = place < 0 ? V{} : source.read_some(k, place, channel, count);
    }
  } else if (patch.inside) {
#pragma GCC unroll 36
    for (int i = 0; i < size * size; ++i)
      pixels[i] = source.read(k, patch.first + i / size * patch.width + i % size, channel);
  } else {
    for (int i = 0; i < size * size; ++i)
      pixels[i] = patch.places[i] < 0 ? V{} : source.read(k, patch.places[i], channel);
  }
}

/// What a transformed block is: `rows` tiles in row blocks of `block`, points `step` elements apart.
struct Block {
  float* data;
  int64_t block, step;
};

/// Tiles [begin, end) of `tiles` as rows from `row` on. kGradient: the tile's own m x m pixels by the transposed output
/// transform; else the pixels that it reads, kTile x kTile from (-pad_h, -pad_w) on, by the input transform, of a map
/// of [height, width].
template <int m, bool kGradient, class V, class Source>
void transform_tiles(const Source& source, const Tiles& tiles, int64_t height, int64_t width, int64_t pad_h,
                     int64_t pad_w, int64_t begin, int64_t end, int64_t row, const Block& to) {
  constexpr int size = kGradient ? m : Axis<m>::kTile, n = kLanes<V>;
  const int64_t blocks = (source.channels + n - 1) / n, channel_step = to.block * n;
  TileCursor at(tiles, begin);
  for (int64_t t = begin; t < end; ++t, ++row, at.next(tiles)) {
    const Patch<size> patch(height, width, at.image, at.row * m - pad_h, at.column * m - pad_w);
    float* out = to.data + row / to.block * blocks * channel_step + row % to.block * n;
    for (int64_t c = 0; c < source.channels; c += n, out += channel_step) {
      V pixels[size * size], points[kPoints<m>];
      read_patch<size>(source, patch, c, pixels);
      if constexpr (kGradient)
        transform_gradient<m>(pixels, points);
      else
        transform_input<m>(pixels, points);
#pragma GCC unroll 36
      for (int p = 0; p < kPoints<m>; ++p) store(out + p * to.step, points[p]);
    }
  }
}

/// Past the caches when kStream: worth it for results that are larger than they are.
template <bool kStream, class V, class T>
TP_INLINE void put(T* p, V v) {
#if defined(__AVX512F__)
  if constexpr (kStream && std::is_same_v<T, float> && kLanes<V> == 16)
    return _mm512_stream_ps(p, reinterpret_cast<const __m512&>(v));
#endif
#if defined(__AVX__)
  if constexpr (kStream && std::is_same_v<T, float> && kLanes<V> == 8)
    return _mm256_stream_ps(p, reinterpret_cast<const __m256&>(v));
#endif
  store(p, v);
}

/// Where results go.
template <class T>
struct Target {
  T* data;
  int64_t channels;
  const float* bias;  ///< [channels], or none
};

/// Products c[point][column][row][L] of tiles [begin, end) -> `columns` vectors of channels from `channel` on.
template <int m, bool kStream, int columns, class V, class T>
void store_tiles(const float* c, int64_t c_step, int64_t point_step, const Tiles& tiles, int64_t begin, int64_t end,
                 int64_t channel, const Target<T>& to) {
  constexpr int n = kLanes<V>;
  TileCursor at(tiles, begin);
  V bias[columns];
  for (int j = 0; j < columns; ++j) {
    const int64_t first = channel + j * n;
    bias[j] = to.bias ? load_some<V>(to.bias + first, std::min<int64_t>(n, to.channels - first)) : V{};
  }
  for (int64_t t = begin; t < end; ++t, at.next(tiles)) {
    const int64_t top = at.row * m, left = at.column * m;
    const int64_t height = std::min<int64_t>(m, tiles.height - top), width = std::min<int64_t>(m, tiles.width - left);
    T* const corner = to.data + ((at.image * tiles.height + top) * tiles.width + left) * to.channels + channel;
#pragma GCC unroll 2
    for (int j = 0; j < columns; ++j) {
      const int64_t count = to.channels - channel - j * n;
      if (count <= 0) break;
      const float* in = c + j * c_step + (t - begin) * n;
      V points[kPoints<m>], pixels[m * m];
#pragma GCC unroll 36
      for (int p = 0; p < kPoints<m>; ++p) points[p] = load<V>(in + p * point_step);
      transform_output<m>(points, pixels);
      if (to.bias)
        for (V& v : pixels) v += bias[j];
      T* const out = corner + j * n;
      if (height == m && width == m && count >= n) {
#pragma GCC unroll 16
        for (int i = 0; i < m * m; ++i) put<kStream>(out + (i / m * tiles.width + i % m) * to.channels, pixels[i]);
      } else {
        for (int64_t i = 0; i < height; ++i)
          for (int64_t k = 0; k < width; ++k) {
            T* const o = out + (i * tiles.width + k) * to.channels;
            if (count >= n)
              store(o, pixels[i * m + k]);
            else
              store_some(o, pixels[i * m + k], count);
          }
      }
    }
  }
}

}  // namespace tidepool::winograd
