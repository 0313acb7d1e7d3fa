// Weighted sums over neighbours: on each axis a matrix whose rows are nonzero in a run of positions (a band), and the
// map that all axes make together. Means over a grid and fixed filters are such. The gradient is the same with the
// matrices transposed.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/lanes.h"
#include "core/parallel.h"
#include "core/sums.h"
#include "layers/pool/compiled_for.h"
#include "layers/pool/sampling.h"
#include "layers/pool/spans.h"

namespace tidepool {

/// A row of a band matrix: its columns [begin, end), and where their weights lie.
struct Band {
  int32_t begin = 0, end = 0;
  int64_t at = 0;
};

/// A band matrix of n columns.
struct BandMatrix {
  int64_t n = 1;
  std::vector<Band> rows;
  std::vector<double> weights;

  int64_t m() const { return static_cast<int64_t>(rows.size()); }
  /// An axis of length 1 that stays as it is.
  bool absent() const { return n == 1 && m() == 1 && weights[0] == 1; }
  /// Appends a row: `values` from column `begin` on.
  void add(int64_t begin, const std::vector<double>& values);
  BandMatrix transposed() const;

  static BandMatrix identity(int64_t n);
  /// Each row the mean over a window.
  static BandMatrix means(int64_t n, const std::vector<Span>& windows);
  /// One row of n ones.
  static BandMatrix sum(int64_t n);
};

inline namespace TP_COMPILED_FOR {
namespace bands {

template <class A>
struct Axis {
  int64_t n = 1, m = 1;
  const Band* rows = nullptr;
  const A* weights = nullptr;  ///< times a power of 2
  const double* exact = nullptr;
};

/// The weighted sum of a line of `count` elements, `step` apart.
template <class V, class T>
TP_HD TP_INLINE V line_sum(const T* x, int64_t step, const Lane<V>* weights, int32_t count) {
  int32_t i = 0;
  if ((1 < kLanes<V> || step != 1) && count <= kSumRun) {
    V sum = splat<V>(0);
    for (; i < count; ++i) sum = sum + splat<V>(weights[i]) * load<V>(x + i * step);
    return sum;
  }
  LongSum<V> sum;
#if !defined(TP_DEVICE_PASS)
  if constexpr (kLanes<V> == 1) {
    using W = typename detail::WideOf<V>::type;
    if (step == 1 && count >= 2 * kLanes<W>) {  // along the line
      LongSum<W> many;
      while (i + kLanes<W> <= count) {
        const int32_t end = count - i > kSumRun * kLanes<W> ? i + kSumRun * kLanes<W> : count;
        W run = splat<W>(0);
        for (; i + kLanes<W> <= end; i += kLanes<W>) run = run + load<W>(weights + i) * load<W>(x + i);
        many.add(run, kSumRun);
      }
      const W total = many.total();
      for (int l = 0; l < kLanes<W>; ++l) sum.add(total[l]);
    }
  }
#endif
  while (i < count) {
    const int32_t end = count - i > kSumRun ? i + kSumRun : count;
    V run = splat<V>(0);
    for (; i < end; ++i) run = run + splat<V>(weights[i]) * load<V>(x + i * step);
    sum.add(run, kSumRun);
  }
  return sum.total();
}

/// y (set, or added to). A row is (outer, d, h) of y, its lanes are (w, inner). kLong: bands on D or H are longer than
/// kSumRun.
template <class T, class U, bool kLong>
struct Kernel {
  std::array<Axis<Acc<T>>, 3> axis;
  int64_t inner;
  PositionRange from, to;
  const T* x;
  U* y;
  bool add;
  double scale;  ///< takes the weights' powers of 2 back

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    const RowPlace place(row, axis[0].m, axis[1].m);
    const int64_t outer = place.outer, d = place.d, h = place.h;
    const Band bd = axis[0].rows[d], bh = axis[1].rows[h];
    const Acc<T>*wd = axis[0].weights + bd.at, *wh = axis[1].weights + bh.at;
    each_position_lane<Acc<T>>(inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      const Band bw = axis[2].rows[w];
      using Sum = std::conditional_t<kLong, LongSum<V>, ShortSum<V>>;
      Sum planes;
      for (int32_t a = bd.begin; a < bd.end; ++a) {
        Sum plane;
        for (int32_t b = bh.begin; b < bh.end; ++b) {
          const int64_t position = outer * from.all + from.begin + (a * axis[1].n + b) * axis[2].n + bw.begin;
          plane.add(splat<V>(wh[b - bh.begin]) *
                    line_sum<V>(x + position * inner + channel, inner, axis[2].weights + bw.at, bw.end - bw.begin));
        }
        planes.add(splat<V>(wd[a - bd.begin]) * plane.total());
      }
      V sum = planes.total() * splat<V>(static_cast<Lane<V>>(scale));
      if constexpr (std::is_same_v<Lane<V>, float>)
        if (!all_finite(sum)) {
          V recomputed = sum;
          for (int l = 0; l < kLanes<V>; ++l) set_lane(recomputed, l, exact(outer, bd, bh, bw, channel + l));
          sum = recomputed;
        }
      const int64_t at = (outer * to.all + to.begin + (d * axis[1].m + h) * axis[2].m + w) * inner + channel;
      store(y + at, add ? load<V>(y + at) + sum : sum);
    });
  }

 private:
  /// The same in f64, where f32 has not the range.
  TP_HD TP_COLD double exact(int64_t outer, Band bd, Band bh, Band bw, int64_t channel) const {
    const double *wd = axis[0].exact + bd.at, *wh = axis[1].exact + bh.at, *ww = axis[2].exact + bw.at;
    double sum = 0;
    for (int32_t a = bd.begin; a < bd.end; ++a)
      for (int32_t b = bh.begin; b < bh.end; ++b)
        for (int32_t c = bw.begin; c < bw.end; ++c) {
          const int64_t position = outer * from.all + from.begin + (a * axis[1].n + b) * axis[2].n + c;
          sum += wd[a - bd.begin] * wh[b - bh.begin] * ww[c - bw.begin] * load_exact(x + position * inner + channel);
        }
    return sum;
  }
};

}  // namespace bands

namespace bands {

/// All three axes at once.
inline void launch(const char* who, const std::array<BandMatrix, 3>& matrices, MapLayout map, const Tensor& x,
                   const Tensor& y, bool add, PositionRange from, PositionRange to) {
  if (from.all == 0) from.all = matrices[0].n * matrices[1].n * matrices[2].n;
  if (to.all == 0) to.all = matrices[0].m() * matrices[1].m() * matrices[2].m();
  int64_t work = 1;
  for (const BandMatrix& m : matrices)
    work *= std::max<int64_t>(1, static_cast<int64_t>(m.weights.size()) / std::max<int64_t>(1, m.m()));
  dispatch_floating(x.dtype(), who, [&]<class T>(T) {
    using A = Acc<T>;
    std::array<bands::Axis<A>, 3> axis;
    HostArrays arrays;
    double scale = 1;
    int32_t longest = 0;  // of the bands on D and H
    for (size_t i = 0; i < 3; ++i) {
      // The largest weight lies in [1, 2): a product with a small number keeps its digits, where 1 / n would not leave
      // them.
      double most = 0;
      for (const double w : matrices[i].weights) most = std::max(most, w);
      const double up = most > 0 ? std::exp2(-std::floor(std::log2(most))) : 1;
      scale /= up;
      for (const Band& row : matrices[i].rows)
        if (i < 2) longest = std::max(longest, row.end - row.begin);
      std::vector<A> weights;
      weights.reserve(matrices[i].weights.size());
      for (const double w : matrices[i].weights) weights.push_back(static_cast<A>(w * up));
      axis[i].n = matrices[i].n;
      axis[i].m = matrices[i].m();
      arrays.add(matrices[i].rows, axis[i].rows);
      arrays.add(weights, axis[i].weights);
      arrays.add(matrices[i].weights, axis[i].exact);
    }
    const Tensor memory = arrays.send(x.device());
    const auto run = [&]<class U>(U* out) {
      const auto launch_one = [&](auto is_long) {
        const bands::Kernel<T, U, is_long.value> kernel{axis, map.inner, from, to, x.data<T>(), out, add, scale};
        parallel_rows(x.device(), map.outer * axis[0].m * axis[1].m, axis[2].m * map.inner, work, kernel);
      };
      longest > kSumRun ? launch_one(std::true_type{}) : launch_one(std::false_type{});
    };
    if (y.dtype() != DType::bf16)
      run(y.mutable_data<A>());
    else if constexpr (!std::is_same_v<A, double>)
      run(y.mutable_data<bf16>());
  });
}

}  // namespace bands

/// y (set, or added to) = the three matrices applied to the axes of x. y has x's type or that of its sums. Ranges name
/// the parts of larger rows of positions that the maps take; without one a map is dense.
inline void apply_bands(const char* who, const std::array<BandMatrix, 3>& matrices, MapLayout map, const Tensor& x,
                        const Tensor& y, bool add = false, PositionRange from = {}, PositionRange to = {}) {
  const auto& [d, h, w] = matrices;
  if (map.inner > 1 || from.all + to.all > 0 || w.absent() || (d.absent() && h.absent()))
    return bands::launch(who, matrices, map, x, y, add, from, to);
  // Plain memory: W alone, and D and H with W as their lanes, the one that leaves less in between first.
  const TensorOptions sums{.dtype = x.dtype() == DType::f64 ? DType::f64 : DType::f32, .device = x.device()};
  const BandMatrix one = BandMatrix::identity(1);
  if (w.m() > w.n) {
    const Tensor middle = Tensor::empty({map.outer * d.n * h.n * w.m()}, sums);
    bands::launch(who, {one, one, w}, {map.outer * d.n * h.n, 1}, x, middle, false, {}, {});
    bands::launch(who, {one, d, h}, {map.outer, w.m()}, middle, y, add, {}, {});
  } else {
    const Tensor middle = Tensor::empty({map.outer * d.m() * h.m() * w.n}, sums);
    bands::launch(who, {one, d, h}, {map.outer, w.n}, x, middle, false, {}, {});
    bands::launch(who, {one, one, w}, {map.outer * d.m() * h.m(), 1}, middle, y, add, {}, {});
  }
}

}  // namespace TP_COMPILED_FOR

std::array<BandMatrix, 3> transposed(const std::array<BandMatrix, 3>& matrices);

}  // namespace tidepool
