// Tiles of a channels-last map: where they lie, and the passes between pixels and transformed points. A transformed
// block is V[point][row block][channel / L][row][channel % L], a row per tile, so that the product reads it in order.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/cpu/nontemporal.h"
#include "core/cpu/norm_formula.h"
#include "core/cpu/winograd/prefetch.h"
#include "core/cpu/winograd/transform.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tidepool::winograd {

/// Tiles of height x width pixels, side by side on maps of [images, map_height, map_width]. The last ones may reach
/// beyond the map.
struct Tiles {
  int64_t images, map_height, map_width;
  Side down, across;
  int64_t height, width;
  int64_t rows, columns;  ///< of tiles in an image

  Tiles(int64_t n, int64_t map_h, int64_t map_w, Side down_, Side across_)
      : images(n),
        map_height(map_h),
        map_width(map_w),
        down(down_),
        across(across_),
        height(down.results),
        width(across.results),
        rows((map_h + height - 1) / height),
        columns((map_w + width - 1) / width) {}
  int64_t count() const { return images * rows * columns; }
  /// A tile's multiplications for one pair of channels.
  int64_t points() const { return points_of(down) * points_of(across); }
  /// Pixels that a tile reads before its first, on an axis that is padded by `pad`.
  static int64_t before(Side side, int64_t pad) { return side.whole ? 0 : pad; }

 private:
  static int64_t points_of(Side side) { return side.whole ? 2 * side.results - 1 : side.results + 2; }
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
  int64_t top(const Tiles& t) const { return row * t.height; }
  int64_t left(const Tiles& t) const { return column * t.width; }
};

/// Runs before a walk over tiles from `begin` on by as many tiles as memory takes to answer: what it names is
/// prefetched, since hardware prefetchers do not follow this pattern.
class TilesAhead {
 public:
  TilesAhead(const Tiles& tiles, int64_t begin)
      : tiles_(tiles), index_(std::min(begin + 2, tiles.count() - 1)), at_(tiles, index_) {}
  void next() {
    if (index_ + 1 >= tiles_.count()) return;
    ++index_;
    at_.next(tiles_);
  }
  /// From pixel (0, 0) of a map of [images, height, width] to the tile's first.
  int64_t pixel(int64_t height, int64_t width) const {
    return (at_.image * height + at_.top(tiles_)) * width + at_.left(tiles_);
  }

 private:
  const Tiles& tiles_;
  int64_t index_;
  TileCursor at_;
};

namespace detail {
template <class V, class T>
__attribute__((noinline)) V load_lanes(const T* p, int64_t count) {
  V v{};
  for (int64_t i = 0; i < count; ++i) v[i] = static_cast<float>(p[i]);
  return v;
}
/// Whether a vector is a register that loads and stores can mask.
template <class V, class T>
inline constexpr bool kMasks =
#if defined(__AVX512F__)
    kLanes<V> == 16 && std::is_same_v<T, float>;
#else
    false;
#endif
}  // namespace detail

/// The first `count` lanes (fewer than V has) from memory, the others 0.
template <class V, class T>
TP_INLINE V load_some(const T* p, int64_t count) {
#if defined(__AVX512F__)
  if constexpr (detail::kMasks<V, T>)
    return reinterpret_cast<V>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p));
#endif
  return detail::load_lanes<V>(p, count);
}
template <class V, class T>
TP_INLINE void store_some(T* p, V v, int64_t count) {
#if defined(__AVX512F__)
  if constexpr (detail::kMasks<V, T>)
    return _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), reinterpret_cast<__m512>(v));
#endif
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

/// p, which the compiler no longer knows the origin of: else it computes and spills an address for every pixel and
/// point of a tile, where a few steps from a row's first would do.
template <class T>
TP_INLINE T opaque(T p) {
  asm("" : "+r"(p));
  return p;
}

// The pixels of a x b that a tile reads: pixel (i, j) (b along the width, or along the height when the tile is turned)
// lies row(i) elements behind column(j), and kept(i, j, v) is v, or 0 where the pixel is outside the map.

/// All of them inside, and all runs of channels whole.
template <int a, int b>
struct InnerPatch {
  static constexpr bool kWholeRuns = true;
  int64_t first, step_a, step_b;

  TP_INLINE int64_t column(int j) const { return opaque(first + j * step_b); }
  TP_INLINE int64_t row(int i) const { return i * step_a; }
  template <class V>
  TP_INLINE V kept(int /*i*/, int /*j*/, V v) const {
    return v;
  }
};

/// Any others. Pixels outside are read at the map's nearest. No branch: most tiles of a small map meet its edge.
template <int a, int b>
class EdgePatch {
 public:
  static constexpr bool kWholeRuns = false;
  /// On an axis: the map's length, the patch's first position, and the elements from position to position.
  struct Axis {
    int64_t length, first, step;
  };
  TP_INLINE EdgePatch(int64_t image, const Axis& along_a, const Axis& along_b) {
    Positions rows, columns;
    position(along_a, 0, rows, row_);
    position(along_b, image, columns, column_);
    const Keeps keep = __builtin_convertvector(columns, Keeps);
    for (int i = 0; i < a; ++i) keep_[i] = keep & static_cast<int32_t>(rows[i]);
  }
  TP_INLINE int64_t column(int j) const { return column_[j]; }
  TP_INLINE int64_t row(int i) const { return row_[i]; }
  template <class V>
  TP_INLINE V kept(int i, int j, V v) const {
    return reinterpret_cast<V>(reinterpret_cast<Ints<V>>(v) & splat_int<V>(keep_[i][j]));
  }

 private:
  // In eights, for vectors of them: the compiler's scalars cost as much as a narrow layer's transform.
  typedef int64_t Positions __attribute__((vector_size(64)));
  typedef int32_t Keeps __attribute__((vector_size(32)));
  static_assert(a <= 8 && b <= 8);

  /// Elements to each position; `keep`: all bits of those inside.
  static TP_INLINE void position(const Axis& axis, int64_t start, Positions& keep, Positions& elements) {
    const Positions at = Positions{0, 1, 2, 3, 4, 5, 6, 7} + axis.first, last = Positions{} + (axis.length - 1);
    const Positions real = at < 0 ? Positions{} : at > last ? last : at;
    keep = real == at;
    elements = real * axis.step + start;
  }

  Positions row_, column_;
  Keeps keep_[a];
};

/// Whether F's tiles lie with their b results along the height.
template <class F>
TP_INLINE bool is_turned(const Tiles& tiles) {
  return F::kSideA != F::kSideB && tiles.down != F::kSideA;
}

/// What a transformed block is: `rows` tiles in row blocks of `block`, points `step` elements apart.
struct Block {
  float* data;
  int64_t block, step;
};

/// All channels of one patch to points `to_step` elements apart, a run of channels `run_step` after the other. A
/// tile's own share of what lies `ahead` elements on is brought nearer.
template <class F, bool kGradient, class V, class Source, class P>
TP_INLINE void transform_patch(const Source& source, P patch, int64_t ahead, float* out, int64_t to_step,
                               int64_t run_step) {
  constexpr int n = kLanes<V>;
  for (int64_t c = 0; c < source.channels; c += n, out += run_step) {
    // Else GCC makes vectors of all masks before the loop, which has a single turn for narrow layers.
    asm volatile("" : "+m"(patch));
    const int64_t count = source.channels - c;
    const auto k = source.template constants<V>(c, count);
    const auto transform = [&](const auto& some) __attribute__((always_inline)) {
      const auto get = [&](int j) __attribute__((always_inline)) {
        const int64_t column = patch.column(j) + c;
        return [ =, &source, &patch ](int i) __attribute__((always_inline)) {
          const int64_t at = column + patch.row(i);
          if (i < F::a && j < F::b) source.bring(at + ahead);
          return patch.kept(i, j, source.template read<V>(k, at, some));
        };
      };
      const auto put = [&](int i) __attribute__((always_inline)) {
        float* const row = opaque(out + i * F::kB * to_step);
        return [=](int j, V v) __attribute__((always_inline)) {
          store(row + j * to_step, v);
        };
      };
      if constexpr (kGradient)
        transform_gradient<F, V>(get, put);
      else
        transform_input<F, V>(get, put);
    };
    if constexpr (P::kWholeRuns)
      transform(WholeRun{});
    else
      count < n ? transform(ShortRun{count}) : transform(WholeRun{});
  }
}

/// Tiles [begin, end) of `tiles` as rows from `row` on, of a map of [height, width]. kGradient: the tile's own pixels
/// by the transposed output transform; else the pixels that it reads, from (-pad_h, -pad_w) on, by the input transform.
template <class F, bool kGradient, class V, class Source>
void transform_tiles(const Source& source, const Tiles& tiles, int64_t height, int64_t width, int64_t pad_h,
                     int64_t pad_w, int64_t begin, int64_t end, int64_t row, const Block& to) {
  constexpr int a = kGradient ? F::a : F::kReadsA, b = kGradient ? F::b : F::kReadsB, n = kLanes<V>;
  const int64_t channels = source.channels, step_h = width * channels, step_w = channels;
  const int64_t runs = (channels + n - 1) / n, run_step = to.block * n;
  const bool turned = is_turned<F>(tiles), whole_runs = channels % n == 0;
  const int64_t rows = turned ? b : a, columns = turned ? a : b;
  const int64_t before_h = Tiles::before(tiles.down, pad_h), before_w = Tiles::before(tiles.across, pad_w);
  TileCursor at(tiles, begin);
  TilesAhead next(tiles, begin);
  for (int64_t t = begin; t < end; ++t, ++row, at.next(tiles), next.next()) {
    const int64_t top = at.top(tiles) - before_h, left = at.left(tiles) - before_w, image = at.image * height * step_h;
    const int64_t here = (at.image * height + at.top(tiles)) * width + at.left(tiles);
    const int64_t ahead = (next.pixel(height, width) - here) * channels;
    float* out = to.data + row / to.block * runs * run_step + row % to.block * n;
    if (whole_runs && top >= 0 && left >= 0 && top + rows <= height && left + columns <= width) {
      const InnerPatch<a, b> patch{image + top * step_h + left * step_w, turned ? step_w : step_h,
                                   turned ? step_h : step_w};
      transform_patch<F, kGradient, V>(source, patch, ahead, out, to.step, run_step);
    } else {
      using Patch = EdgePatch<a, b>;
      const typename Patch::Axis down{height, top, step_h}, across{width, left, step_w};
      const Patch patch = turned ? Patch(image, across, down) : Patch(image, down, across);
      transform_patch<F, kGradient, V>(source, patch, ahead, out, to.step, run_step);
    }
  }
}

/// Where results go, and what is done with them on the way.
template <class T>
struct Target {
  T* data;
  int64_t channels;
  const float* bias = nullptr;  ///< [channels], added first
  Norm norm{};                  ///< applied before the store when there is one

  void add_to(PrefetchQueue& soon, int64_t begin, int64_t end) const { soon.add(data + begin, data + end); }
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

/// Adds what tiles [begin, end) have of a map of [images, height, width], `below` rows under their own included, and
/// tiles before them have not.
template <class Map>
void add_tiles(PrefetchQueue& soon, const Map& map, const Tiles& tiles, int64_t begin, int64_t end, int64_t height,
               int64_t width, int64_t below) {
  const auto rows_to = [&](int64_t index) {
    if (index == 0) return int64_t{0};
    const TileCursor last(tiles, index - 1);
    return last.image * height + std::min(height, last.top(tiles) + tiles.height + below);
  };
  map.add_to(soon, rows_to(begin) * width * map.channels, rows_to(end) * width * map.channels);
}

/// Products c[point][column][row][L] of tiles [begin, end) -> `columns` vectors of channels from `channel` on.
/// `gathered` (one a column, or none) takes the moments of what is stored. Denormal numbers are flushed by the caller.
template <class F, bool kStream, int columns, class V, class T>
void store_tiles(const float* c, int64_t c_step, int64_t point_step, const Tiles& tiles, int64_t begin, int64_t end,
                 int64_t channel, const Target<T>& to, Gathered<V>* gathered) {
  constexpr int n = kLanes<V>;
  TileCursor at(tiles, begin);
  const bool turned = is_turned<F>(tiles);
  const int64_t step_a = (turned ? 1 : tiles.map_width) * to.channels,
                step_b = (turned ? tiles.map_width : 1) * to.channels;
  V bias[columns]{}, mean[columns]{}, scale[columns]{}, shift[columns]{};
  for (int j = 0; j < columns; ++j) {
    const int64_t first = channel + j * n, count = std::min<int64_t>(n, to.channels - first);
    if (to.bias) bias[j] = row<V>(to.bias, first, count);
    if (!to.norm.mean) continue;
    mean[j] = row<V>(to.norm.mean, first, count);
    scale[j] = row<V>(to.norm.scale, first, count);
    shift[j] = row<V>(to.norm.shift, first, count);
  }
  TilesAhead next(tiles, begin);
  for (int64_t t = begin; t < end; ++t, at.next(tiles), next.next()) {
    const int64_t top = at.top(tiles), left = at.left(tiles);
    const int64_t height = std::min(tiles.height, tiles.map_height - top),
                  width = std::min(tiles.width, tiles.map_width - left);
    const int64_t along_a = turned ? width : height, along_b = turned ? height : width;
    const int64_t first = (at.image * tiles.map_height + top) * tiles.map_width + left;
    T* const corner = to.data + first * to.channels + channel;
    const int64_t ahead = (next.pixel(tiles.map_height, tiles.map_width) - first) * to.channels;
#pragma GCC unroll 2
    for (int j = 0; j < columns; ++j) {
      const int64_t count = to.channels - channel - j * n;
      if (count <= 0) break;
      const float* in = c + j * c_step + (t - begin) * n;
      V pixels[F::a * F::b];
      const auto get = [&](int q) __attribute__((always_inline)) {
        const float* const first_row = in + q * point_step;
        const float* const column = columns == 1 ? first_row : opaque(first_row);  // measured
        return [=](int i) __attribute__((always_inline)) {
          return load<V>(column + i * F::kB * point_step);
        };
      };
      transform_output<F>(get, pixels);
      if (to.bias)
        for (V& v : pixels) v += bias[j];
      if (to.norm.mean)
        for (V& v : pixels) v = norm::Relu::apply<V>(norm::normed<V>(v - mean[j], scale[j], shift[j]));
      T* const out = corner + j * n;
      if (along_a == F::a && along_b == F::b && count >= n) {
        Stored<V, T> kept[F::a * F::b];
#pragma GCC unroll 25
        for (int i = 0; i < F::a * F::b; ++i) kept[i] = rounded<T, true>(pixels[i]);
        if (gathered) {
          if (!gathered[j].started) gathered[j].start(pixels, F::a * F::b);
          for (const auto& v : kept) gathered[j].add(widened<V, T>(v));
        }
#pragma GCC unroll 25
        for (int i = 0; i < F::a * F::b; ++i) {
          T* const o = out + i / F::b * step_a + i % F::b * step_b;
          if constexpr (!kStream) __builtin_prefetch(o + ahead, 1);
          if constexpr (std::is_same_v<T, float>)
            put<kStream>(o, kept[i]);
          else
            memcpy(static_cast<void*>(o), &kept[i], sizeof kept[i]);
        }
        continue;
      }
      if (gathered && !gathered[j].started) gathered[j].start(pixels, along_b);
      for (int64_t i = 0; i < along_a; ++i)
        for (int64_t k = 0; k < along_b; ++k) {
          T* const o = out + i * step_a + k * step_b;
          if (count >= n)
            store(o, pixels[i * F::b + k]);
          else
            store_some(o, pixels[i * F::b + k], count);
          if (gathered) gathered[j].add(widened<V, T>(rounded<T>(pixels[i * F::b + k])));
        }
    }
  }
}

}  // namespace tidepool::winograd
