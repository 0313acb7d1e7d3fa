// Cropping a map in the Fourier domain. On an axis of n positions that is left with m, keeping frequency k with a
// weight w(|k|) is one real matrix,
//
//   A[o][j] = (1 / n) sum over kept k of w(|k|) cos(2 pi k (o / m - j / n)),
//
// which is applied to the axis; the gradient applies its transpose. Both signs of a frequency are kept, and so those at
// +m/2 and -m/2 are added into one for even m < n, as scipy.signal.resample does; for m = n they are one and count
// once. Matrices are made at each call, in tiles, so that any length fits; an axis takes n m multiply-adds per
// line.
#pragma once
#include <omp.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/backend/reduction.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/sums.h"
#include "layers/pool/compiled_for.h"
#include "layers/pool/sampling.h"

namespace tidepool {

/// What is kept of an axis.
struct Spectrum {
  int64_t n = 1, m = 1;
  int64_t flat = -1;         ///< frequencies |k| <= flat weigh 1
  int64_t from = 0;          ///< those from here on weigh
  std::vector<double> ramp;  ///< these, one after the other; all others nothing
  bool same = false;         ///< the axis stays as it is

  /// The highest frequency of an axis of length m.
  static int64_t highest(int64_t m) { return m / 2; }
  /// The m lowest frequencies of n, m <= n; m = n changes nothing.
  static Spectrum crop(int64_t n, int64_t m);
};

/// Entries of A or of its transpose.
class FourierMatrix {
 public:
  explicit FourierMatrix(const Spectrum& s);
  double operator()(int64_t o, int64_t j) const;

 private:
  double at_phase(int64_t t) const;  ///< A where o n - j m = t (mod m n)

  const Spectrum& s_;
  int64_t unit_;               ///< greatest common divisor of m and n: phases are its multiples
  std::vector<double> table_;  ///< by phase, where there are not too many
};

inline namespace TP_COMPILED_FOR {
namespace fourier {

inline constexpr int64_t kTile = int64_t{1} << 22;  // entries of a matrix that are made at once

/// y[outer][first + o][lane] (set) = sum over j of a[o][j] x[outer][j][lane], four outputs at a time. A row is (outer,
/// four outputs).
template <class T, class U>
struct Across {
  int64_t columns, outputs, first, rows, inner;
  const T* x;
  const Acc<T>* a;
  U* y;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    const int64_t blocks = (rows + 3) / 4, o = row % blocks * 4, outer = row / blocks;
    const auto line = [&](int64_t i) { return a + (o + i < rows ? o + i : o) * columns; };
    const Acc<T>*a0 = line(0), *a1 = line(1), *a2 = line(2), *a3 = line(3);
    each_lane<Acc<T>>(lane, count, [&]<class V>(int64_t l) {
      const T* p = x + outer * columns * inner + l;
      LongSum<V> sum[4];
      for (int64_t j = 0; j < columns;) {
        const int64_t end = columns - j > kSumRun ? j + kSumRun : columns;
        V s0 = splat<V>(0), s1 = s0, s2 = s0, s3 = s0;
        for (; j < end; ++j) {
          const V v = load<V>(p + j * inner);
          s0 = s0 + splat<V>(a0[j]) * v;
          s1 = s1 + splat<V>(a1[j]) * v;
          s2 = s2 + splat<V>(a2[j]) * v;
          s3 = s3 + splat<V>(a3[j]) * v;
        }
        sum[0].add(s0, kSumRun);
        sum[1].add(s1, kSumRun);
        sum[2].add(s2, kSumRun);
        sum[3].add(s3, kSumRun);
      }
      U* to = y + (outer * outputs + first + o) * inner + l;
      for (int64_t i = 0; i < 4 && o + i < rows; ++i) store(to + i * inner, sum[i].total());
    });
  }
};

#if !defined(TP_DEVICE_PASS)
/// The same on the CPU. A row is (outer, some lanes): these are brought together in the nearest cache, where all
/// outputs read them; columns that lie a power of 2 apart would drive each other out of it.
template <class T, class U>
class PackedAcross {
 public:
  explicit PackedAcross(const Across<T, U>& all)
      : all_(all),
        chunk_(std::clamp<int64_t>(kNearest / all.columns / kUnit * kUnit, kUnit,
                                   (all.inner + kUnit - 1) / kUnit * kUnit)),
        scratch_(Tensor::empty({omp_get_max_threads(), all.columns * chunk_}, {.dtype = DTypeOf<A>::value})) {}

  int64_t chunks() const { return (all_.inner + chunk_ - 1) / chunk_; }
  int64_t work() const { return all_.columns * all_.rows * chunk_; }
  void operator()(int64_t row, int64_t /*lane*/, int64_t /*count*/) const {
    const int64_t outer = row / chunks(), lane = row % chunks() * chunk_, count = std::min(chunk_, all_.inner - lane);
    A* const packed = scratch_.mutable_data<A>() + omp_get_thread_num() * all_.columns * chunk_;
    const T* const from = all_.x + outer * all_.columns * all_.inner + lane;
    for (int64_t j = 0; j < all_.columns; ++j)
      each_lane<A>(0, count,
                   [&]<class V>(int64_t l) { store(packed + j * chunk_ + l, load<V>(from + j * all_.inner + l)); });
    U* const to = all_.y + (outer * all_.outputs + all_.first) * all_.inner + lane;
    using V = typename detail::WideOf<A>::type;
    for (int64_t o = 0; o < all_.rows; o += 4) {
      int64_t l = 0;
      for (; l + 2 * kLanes<V> <= count; l += 2 * kLanes<V>) outputs<V, 2>(packed + l, o, to + l);
      each_lane<A>(l, count - l, [&]<class W>(int64_t at) { outputs<W, 1>(packed + at, o, to + at); });
    }
  }

 private:
  using A = Acc<T>;
  static constexpr int64_t kNearest = 6144;  // elements: in f32 three quarters of a first-level cache of 32 KiB
  static constexpr int64_t kUnit = 2 * kLanes<typename detail::WideOf<A>::type>;

  /// Outputs o to o + 4 of n vectors of lanes.
  template <class V, int n>
  void outputs(const A* packed, int64_t o, U* to) const {
    const int64_t count = std::min<int64_t>(4, all_.rows - o);
    const A* a[4];
    for (int64_t i = 0; i < 4; ++i) a[i] = all_.a + (o + std::min(i, count - 1)) * all_.columns;
    V run[4][n];
    const auto sum_columns = [&](int64_t begin, int64_t end) {
      TP_UNROLL
      for (int i = 0; i < 4; ++i)
        for (int k = 0; k < n; ++k) run[i][k] = splat<V>(0);
      for (int64_t j = begin; j < end; ++j) {
        V v[n];
        TP_UNROLL
        for (int k = 0; k < n; ++k) v[k] = load<V>(packed + j * chunk_ + k * kLanes<V>);
        TP_UNROLL
        for (int i = 0; i < 4; ++i) {
          const V weight = splat<V>(a[i][j]);
          for (int k = 0; k < n; ++k) run[i][k] = run[i][k] + weight * v[k];
        }
      }
    };
    const auto put = [&](int64_t i, int k, V sum) { store(to + (o + i) * all_.inner + k * kLanes<V>, sum); };
    if (all_.columns <= kSumRun) {
      sum_columns(0, all_.columns);
      for (int64_t i = 0; i < count; ++i)
        for (int k = 0; k < n; ++k) put(i, k, run[i][k]);
      return;
    }
    LongSum<V> sums[4][n];
    for (int64_t j = 0; j < all_.columns; j += kSumRun) {
      sum_columns(j, std::min(all_.columns, j + kSumRun));
      for (int i = 0; i < 4; ++i)
        for (int k = 0; k < n; ++k) sums[i][k].add(run[i][k], kSumRun);
    }
    for (int64_t i = 0; i < count; ++i)
      for (int k = 0; k < n; ++k) put(i, k, sums[i][k].total());
  }

  Across<T, U> all_;
  int64_t chunk_;
  Tensor scratch_;  // [threads, columns, chunk_]
};
#endif

/// The same on lines of neighbouring positions: lanes are outputs. `a` is transposed, its rows padded to whole vectors.
template <class T, class U>
struct Along {
  int64_t columns, outputs, first, pitch;
  const T* x;
  const Acc<T>* a;
  U* y;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const { lines<1>(row, lane, count); }
  /// Four lines at a time read each of the matrix's vectors once.
  void rows(int64_t begin, int64_t end, int64_t lanes) const {
    for (; begin + 4 <= end; begin += 4) lines<4>(begin, 0, lanes);
    for (; begin < end; ++begin) lines<1>(begin, 0, lanes);
  }

 private:
  template <int n>
  TP_HD void lines(int64_t row, int64_t lane, int64_t count) const {
    const T* const from = x + row * columns;
#if defined(TP_DEVICE_PASS)
    using V = Acc<T>;
#else
    using V = typename detail::WideOf<Acc<T>>::type;
#endif
    for (int64_t o = lane; o < lane + count; o += kLanes<V>) {
      V run[n];
      const auto sum_columns = [&](int64_t begin, int64_t end) {
        TP_UNROLL
        for (int i = 0; i < n; ++i) run[i] = splat<V>(0);
        for (int64_t j = begin; j < end; ++j) {
          const V weights = load<V>(a + j * pitch + o);
          TP_UNROLL
          for (int i = 0; i < n; ++i) run[i] = run[i] + splat<V>(static_cast<Acc<T>>(from[i * columns + j])) * weights;
        }
      };
      U* const to = y + row * outputs + first + o;
      if (columns <= kSumRun) {
        sum_columns(0, columns);
        for (int i = 0; i < n; ++i) store_some(to + i * outputs, run[i], lane + count - o);
        continue;
      }
      LongSum<V> sums[n];
      for (int64_t j = 0; j < columns; j += kSumRun) {
        sum_columns(j, columns - j > kSumRun ? j + kSumRun : columns);
        for (int i = 0; i < n; ++i) sums[i].add(run[i], kSumRun);
      }
      for (int i = 0; i < n; ++i) store_some(to + i * outputs, sums[i].total(), lane + count - o);
    }
  }
  /// Lanes that are outputs.
  template <class V>
  TP_HD static void store_some(U* to, V sum, int64_t count) {
    if constexpr (kLanes<V> == 1) {
      store(to, sum);
    } else if (count >= kLanes<V>) {
      store(to, sum);
    } else {
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<U>(sum[i]);
    }
  }
};

template <class T, class U>
void apply_across(Device device, int64_t outer, const Across<T, U>& across) {
#if defined(TP_DEVICE_PASS)
  parallel_rows(device, outer * ((across.rows + 3) / 4), across.inner, 4 * across.columns, across);
#else
  const PackedAcross<T, U> packed(across);
  parallel_rows(device, outer * packed.chunks(), 1, packed.work(), packed);
#endif
}

/// y [outer][m][inner] (set) = A x, or with `transposed` y [outer][n][inner] = A^T x.
template <class T, class U>
void apply(const Spectrum& s, bool transposed, int64_t outer, int64_t inner, Device device, const T* x, U* y) {
  using A = Acc<T>;
  const FourierMatrix matrix(s);
  const int64_t outputs = transposed ? s.n : s.m, columns = transposed ? s.m : s.n;
  const int64_t tile = std::max<int64_t>(16, kTile / columns / 16 * 16);
  for (int64_t first = 0; first < outputs; first += tile) {
    const int64_t rows = std::min(tile, outputs - first), pitch = inner == 1 ? (rows + 15) / 16 * 16 : columns;
    std::vector<A> a(static_cast<size_t>(inner == 1 ? columns * pitch : rows * pitch), A{0});
    for (int64_t o = 0; o < rows; ++o)
      for (int64_t j = 0; j < columns; ++j)
        a[static_cast<size_t>(inner == 1 ? j * pitch + o : o * pitch + j)] =
            static_cast<A>(transposed ? matrix(j, first + o) : matrix(first + o, j));
    const Tensor memory = upload(a, device);
    const auto* entries = static_cast<const A*>(memory.raw());
    if (inner == 1)
      parallel_rows(device, outer, rows, columns, Along<T, U>{columns, outputs, first, pitch, x, entries, y});
    else
      apply_across(device, outer, Across<T, U>{columns, outputs, first, rows, inner, x, entries, y});
  }
}

/// sums[row] = sum over the row's kRow elements of a b, in f64.
template <class T>
struct Dot {
  static constexpr int64_t kRow = 4096;
  int64_t count;
  const T* a;
  const Acc<T>* b;
  double* sums;

  TP_HD void operator()(int64_t row, int64_t /*lane*/, int64_t /*count*/) const {
    using A = Acc<T>;
    LaneSums<A> sum;
    const int64_t begin = row * kRow, length = count - begin < kRow ? count - begin : kRow;
    each_lane<A>(begin, length, [&]<class V>(int64_t i) { sum.add(load<V>(a + i) * load<V>(b + i)); });
    sums[row] = sum.total();
  }
};

}  // namespace fourier

/// The matrices applied to the axes D, H, W of x [N, C, spatial], one after the other; x and the result are dense in
/// `format`. The result has x's type or that of its sums; between two axes numbers have the type of sums.
inline Tensor fourier_map(const char* who, const std::array<Spectrum, 3>& axes, bool transposed, const Tensor& x,
                          MemoryFormat format, DType type) {
  const Device device = x.device();
  const DType sums = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  int last = -1;
  for (int i = 0; i < 3; ++i)
    if (!axes[static_cast<size_t>(i)].same) last = i;
  if (last < 0) return x.clone().to(type);
  Tensor map = x;
  for (int i = 0; i <= last; ++i) {
    const Spectrum& s = axes[static_cast<size_t>(i)];
    if (s.same) continue;
    const int axis = x.rank() - 3 + i;
    Dims shape = map.shape();
    shape[axis] = transposed ? s.n : s.m;
    const Tensor y = Tensor::empty(shape, {i == last ? type : sums, format, device});
    const bool channels_last = format == MemoryFormat::channels_last;
    int64_t outer = shape[0] * (channels_last ? 1 : shape[1]), inner = channels_last ? shape[1] : 1;
    for (int j = 2; j < axis; ++j) outer *= shape[j];
    for (int j = axis + 1; j < shape.rank(); ++j) inner *= shape[j];
    dispatch_floating(map.dtype(), who, [&]<class T>(T) {
      const auto run = [&]<class U>(U* to) {
        fourier::apply<T, U>(s, transposed, outer, inner, device, map.data<T>(), to);
      };
      if (y.dtype() == DType::bf16) {
        if constexpr (!std::is_same_v<T, double>) run(y.mutable_data<bf16>());
      } else {
        run(y.mutable_data<Acc<T>>());
      }
    });
    map = y;
  }
  return map;
}

/// The sum of a b over all elements, in f64 and in a fixed order; b has the type of a's sums. Both dense, in one
/// format.
inline double fourier_dot(const char* who, const Tensor& a, const Tensor& b) {
  const int64_t rows = (a.numel() + fourier::Dot<float>::kRow - 1) / fourier::Dot<float>::kRow;
  const Tensor sums = Tensor::empty({rows}, {.dtype = DType::f64, .device = a.device()});
  const Tensor sum = Tensor::empty({1}, {.dtype = DType::f64, .device = a.device()});
  dispatch_floating(a.dtype(), who, [&]<class T>(T) {
    parallel_rows(a.device(), rows, 1, 1024,
                  fourier::Dot<T>{a.numel(), a.data<T>(), b.data<Acc<T>>(), sums.mutable_data<double>()});
  });
  column_sums(sums.reshape({rows, 1}), sum);
  return sum.to(kCpu).item();
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
