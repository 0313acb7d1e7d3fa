// Tiles of a channels-last map: where they lie, and the passes between pixels and transformed points. A transformed
// block is V[point][row block][channel / L][row][channel % L], a row a tile, so that the product reads it in order.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/norm_formula.h"
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

/// A batch norm and its ReLU: max(0, (v - mean) scale + shift). Rows of [channels].
struct Norm {
  const float *mean = nullptr, *scale = nullptr, *shift = nullptr;
};

/// `count` lanes of a row from `channel` on, 0 beyond them.
template <class V>
TP_INLINE V row(const float* p, int64_t channel, int64_t count) {
  return count < kLanes<V> ? load_some<V>(p + channel, count) : load<V>(p + channel);
}

// Where a driver reads a map. `constants` gives what one run of channels needs, `read` a run of a pixel, from `at`
// (elements), which is `Some` when the run is shorter than a vector.

/// A map as it lies in memory.
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
  template <class V, class Some>
  TP_INLINE V read(const Constants<V>&, int64_t at, const Some& some) const {
    return some.template of<V>(data + at);
  }
};

/// A map behind a batch norm and ReLU that is applied on the way.
template <class T>
struct NormSource {
  const T* data;
  int64_t channels;
  Norm norm;

  template <class V>
  struct Constants {
    V mean, scale, shift;
  };
  template <class V>
  TP_INLINE Constants<V> constants(int64_t c, int64_t n) const {
    return {row<V>(norm.mean, c, n), row<V>(norm.scale, c, n), row<V>(norm.shift, c, n)};
  }
  template <class V, class Some>
  TP_INLINE V read(const Constants<V>& k, int64_t at, const Some& some) const {
    return norm::relu<V>(norm::normed<V>(some.template of<V>(data + at) - k.mean, k.scale, k.shift));
  }
};

/// The gradient of a convolution's result y that a batch norm and ReLU follow, from dz behind the ReLU.
template <class T>
struct NormGradientSource {
  const T *dz, *y;
  int64_t channels;
  Norm norm;
  const float *slope, *offset;

  template <class V>
  struct Constants {
    V mean, scale, shift, slope, offset;
  };
  template <class V>
  TP_INLINE Constants<V> constants(int64_t c, int64_t n) const {
    return {row<V>(norm.mean, c, n), row<V>(norm.scale, c, n), row<V>(norm.shift, c, n), row<V>(slope, c, n),
            row<V>(offset, c, n)};
  }
  template <class V, class Some>
  TP_INLINE V read(const Constants<V>& k, int64_t at, const Some& some) const {
    const V centred = some.template of<V>(y + at) - k.mean;
    const V g = norm::behind_relu<T, V>(some.template of<V>(dz + at), norm::normed<V>(centred, k.scale, k.shift));
    return norm::gradient<V>(g, centred, k.scale, k.slope, k.offset);
  }
};

struct WholeRun {
  template <class V, class T>
  TP_INLINE V of(const T* p) const {
    return load<V>(p);
  }
};
struct ShortRun {
  int64_t count;
  template <class V, class T>
  TP_INLINE V of(const T* p) const {
    return load_some<V>(p, count);
  }
};

/// A patch of `source`, lanes from `channel` on; 0 outside the map.
template <int size, class V, class Source>
TP_INLINE void read_patch(const Source& source, const Patch<size>& patch, int64_t channel, V* pixels) {
  const int64_t channels = source.channels, count = channels - channel;
  const auto k = source.template constants<V>(channel, count);
  if (patch.inside && count >= kLanes<V>) {
#pragma GCC unroll 36
    for (int i = 0; i < size * size; ++i)
      pixels[i] = source.template read<V>(k, (patch.first + i / size * patch.width + i % size) * channels + channel,
                                          WholeRun{});
    return;
  }
  for (int i = 0; i < size * size; ++i) {
    const int64_t place = patch.inside ? patch.first + i / size * patch.width + i % size : patch.places[i];
    const int64_t at = place * channels + channel;
    pixels[i] = place < 0            ? V{}
                : count >= kLanes<V> ? source.template read<V>(k, at, WholeRun{})
                                     : source.template read<V>(k, at, ShortRun{count});
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

/// Where results go, and what is done with them on the way.
template <class T>
struct Target {
  T* data;
  int64_t channels;
  const float* bias = nullptr;  ///< [channels], added first
  Norm norm{};                  ///< applied before the store when there is one
};

/// Mean and sum of squares about it of `count` values in L channels, from sums about a pivot.
template <class V>
struct Gathered {
  V pivot{}, sum{}, squares{};
  bool started = false;

  /// The mean of a tile's first values: near the mean even when the very first is not.
  TP_INLINE void start(const V* pixels, int64_t count) {
    V some{};
    for (int64_t i = 0; i < count; ++i) some += pixels[i];
    pivot = some * (1.0f / static_cast<float>(count));
    started = true;
  }
  TP_INLINE void add(V v) {
    const V d = v - pivot;
    sum += d;
    squares += d * d;
  }
  void finish(double count, int64_t lanes, double* mean, double* squares_about_it) const {
    for (int64_t l = 0; l < lanes; ++l) {
      const double s0 = static_cast<double>(sum[l]), s1 = static_cast<double>(squares[l]);
      mean[l] = static_cast<double>(pivot[l]) + s0 / count;
      squares_about_it[l] = std::max(0.0, s1 - s0 * (s0 / count)) + (s0 - s0);  // max drops NaN, the last term not
    }
  }
};

/// What a stored value of type T is when it is read again.
template <class T, class V>
TP_INLINE V as_stored(V v) {
  if constexpr (std::is_same_v<T, float>) return v;
  T bits[kLanes<V>];
  store(bits, v);
  return load<V>(static_cast<const T*>(bits));
}

/// Products c[point][column][row][L] of tiles [begin, end) -> `columns` vectors of channels from `channel` on.
/// `gathered` (one a column, or none) takes the moments of what is stored.
template <int m, bool kStream, int columns, class V, class T>
void store_tiles(const float* c, int64_t c_step, int64_t point_step, const Tiles& tiles, int64_t begin, int64_t end,
                 int64_t channel, const Target<T>& to, Gathered<V>* gathered) {
  constexpr int n = kLanes<V>;
  TileCursor at(tiles, begin);
  V bias[columns]{}, mean[columns]{}, scale[columns]{}, shift[columns]{};
  for (int j = 0; j < columns; ++j) {
    const int64_t first = channel + j * n, count = std::min<int64_t>(n, to.channels - first);
    if (to.bias) bias[j] = row<V>(to.bias, first, count);
    if (!to.norm.mean) continue;
    mean[j] = row<V>(to.norm.mean, first, count);
    scale[j] = row<V>(to.norm.scale, first, count);
    shift[j] = row<V>(to.norm.shift, first, count);
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
      if (to.norm.mean)
        for (V& v : pixels) v = norm::relu<V>(norm::normed<V>(v - mean[j], scale[j], shift[j]));
      T* const out = corner + j * n;
      if (height == m && width == m && count >= n) {
        if (gathered) {
          if (!gathered[j].started) gathered[j].start(pixels, m * m);
          for (const V& v : pixels) gathered[j].add(as_stored<T>(v));
        }
#pragma GCC unroll 16
        for (int i = 0; i < m * m; ++i) put<kStream>(out + (i / m * tiles.width + i % m) * to.channels, pixels[i]);
        continue;
      }
      if (gathered && !gathered[j].started) gathered[j].start(pixels, width);
      for (int64_t i = 0; i < height; ++i)
        for (int64_t k = 0; k < width; ++k) {
          T* const o = out + (i * tiles.width + k) * to.channels;
          if (count >= n)
            store(o, pixels[i * m + k]);
          else
            store_some(o, pixels[i * m + k], count);
          if (gathered) gathered[j].add(as_stored<T>(pixels[i * m + k]));
        }
    }
  }
}

}  // namespace tidepool::winograd
