// dynopool's kernels. A row is (outer, d, h) of the output (of the input in Spread), its lanes are (w, inner).
#pragma once
#include <utility>

#include "core/lane_math.h"
#include "core/sums.h"
#include "layers/pool/dynopool_plan.h"

namespace tidepool {
namespace {  // of one source file, in each compiler's pass

/// Positions of a row of outputs.
struct OutputRow : RowPlace {
  TP_HD OutputRow(const std::array<SampledAxis, 3>& axis, int64_t row) : RowPlace(row, axis[0].m, axis[1].m) {}
};

template <class T>
struct Common {
  std::array<SampledAxis, 3> axis;
  int64_t inner;
  Aggregate aggregate;
  const T* x;

  template <class V>
  TP_HD TP_INLINE Interpolate<V, T> map(int64_t outer, int64_t channel) const {
    const int64_t w = inner, h = axis[2].n * w, d = axis[1].n * h;
    return {x + outer * axis[0].n * d + channel, d, h, w};
  }
  /// Calls f(query number, d side, h side, w side).
  template <class F>
  TP_HD TP_INLINE void each_query(F&& f) const {
    int32_t q = 0;
    for (int32_t a = 0; a < axis[0].sides; ++a)
      for (int32_t b = 0; b < axis[1].sides; ++b)
        for (int32_t c = 0; c < axis[2].sides; ++c) f(q++, a, b, c);
  }
};

/// The mean of v[0..count) weighted by exp v: what soft makes of a window; e gets the weights.
template <class V>
TP_HD TP_INLINE V soft_mean(const V* v, int32_t count, V* e, V& m) {
  const V none = splat<V>(0);
  m = v[0];
  for (int32_t q = 1; q < count; ++q) m = max_nan(m, v[q]);
  V sum = none, mean = none;
  for (int32_t q = 0; q < count; ++q) {
    e[q] = exp_lanes<V>(v[q] - m);
    sum = sum + e[q];
    mean = mean + (e[q] > none ? e[q] * (v[q] - m) : none);
  }
  for (int32_t q = 0; q < count; ++q) e[q] = e[q] / sum;
  return mean / sum;
}

template <class T>
struct ForwardKernel : Common<T> {
  T* y;
  uint8_t* winners;
  Stray stray;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    if (this->aggregate == Aggregate::max)
      winners ? walk<Aggregate::max, true>(row, lane, count) : walk<Aggregate::max, false>(row, lane, count);
    else if (this->aggregate == Aggregate::avg)
      walk<Aggregate::avg, false>(row, lane, count);
    else
      walk<Aggregate::soft, false>(row, lane, count);
  }
  template <Aggregate kAggregate, bool kWinners>
  TP_HD TP_INLINE void walk(int64_t row, int64_t lane, int64_t count) const {
    const OutputRow at(this->axis, row);
    each_position_run<Acc<T>>(this->inner, lane, count, [&]<class V, int vectors>(int64_t w, int64_t channel) {
      const auto map = this->template map<V>(at.outer, channel);
      const int64_t out = (row * this->axis[2].m + w) * this->inner + channel;
      V best[vectors], v[vectors][kAggregate == Aggregate::soft ? 8 : 1]{};
      Ints<V> winner[vectors];
      TP_UNROLL
      for (int i = 0; i < vectors; ++i) {
        best[i] = splat<V>(kAggregate == Aggregate::max ? -INFINITY : 0);
        winner[i] = splat_int<V>(0);
      }
      int32_t queries = 0;
      V watch = splat<V>(0);  // NaN once a value is not finite
      this->each_query([&](int32_t q, int32_t a, int32_t b, int32_t c) {
        const Sample &sd = this->axis[0].sample(at.d, a), &sh = this->axis[1].sample(at.h, b),
                     &sw = this->axis[2].sample(w, c);
        TP_UNROLL
        for (int i = 0; i < vectors; ++i) {
          const V value = map.at(sd, sh, sw, i * kLanes<V>);
          watch = watch + (value - value);
          if constexpr (kAggregate == Aggregate::max) {
            const auto wins = (value > best[i]) | (value != value);
            best[i] = wins ? value : best[i];
            if constexpr (kWinners) winner[i] = wins ? splat_int<V>(q) : winner[i];
          } else if constexpr (kAggregate == Aggregate::avg) {
            best[i] = best[i] + value;
          } else {
            v[i][q] = value;
          }
        }
        queries = q + 1;
      });
      stray.see(watch);
      TP_UNROLL
      for (int i = 0; i < vectors; ++i) {
        if constexpr (kAggregate == Aggregate::avg) {
          stray.see(best[i]);
          best[i] = best[i] / splat<V>(static_cast<Lane<V>>(queries));
        }
        if constexpr (kAggregate == Aggregate::soft) {
          V e[8], m;
          const V mean = soft_mean(v[i], queries, e, m);
          best[i] = m + mean;
        }
        store(y + out + i * kLanes<V>, best[i]);
        if constexpr (kWinners) store_int<V>(winners + out + i * kLanes<V>, winner[i]);
      }
    });
  }
};

/// For aggregate soft: dv (set), the gradient of each sample's value, [queries][outputs].
template <class T>
struct SoftBackwardKernel : Common<T> {
  const T* dy;
  Acc<T>* dv;
  int64_t outputs;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    const OutputRow at(this->axis, row);
    each_position_lane<Acc<T>>(this->inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      const auto map = this->template map<V>(at.outer, channel);
      const int64_t out = (row * this->axis[2].m + w) * this->inner + channel;
      V v[8], e[8], m;
      int32_t queries = 0;
      this->each_query([&](int32_t q, int32_t a, int32_t b, int32_t c) {
        v[q] = map(this->axis[0].sample(at.d, a), this->axis[1].sample(at.h, b), this->axis[2].sample(w, c));
        queries = q + 1;
      });
      const V mean = soft_mean(v, queries, e, m), gradient = load<V>(dy + out);
      for (int32_t q = 0; q < queries; ++q)
        store(dv + q * outputs + out,  // v - m may be infinite where e is 0
              e[q] > splat<V>(0) ? gradient * e[q] * (splat<V>(1) + ((v[q] - m) - mean)) : gradient * e[q]);
    });
  }
};

/// The gradient of each sample's value.
template <class T>
struct SampleGradient {
  Aggregate aggregate;
  int32_t queries;
  int64_t outputs;
  const T* dy;
  const uint8_t* winners;
  const Acc<T>* dv;

  /// Whether sample q gets nothing, of one lane.
  TP_HD TP_INLINE bool passes(int64_t out, int32_t q) const { return aggregate == Aggregate::max && winners[out] != q; }
  template <class V>
  TP_HD TP_INLINE V at(int64_t out, int32_t q) const {
    if (aggregate == Aggregate::soft) return load_as<V>(dv + q * outputs + out);
    const V g = load_as<V>(dy + out);
    if (aggregate == Aggregate::avg) return g / splat<V>(static_cast<Lane<V>>(queries));
    return load_int<V>(winners + out) == splat_int<V>(q) ? g : splat<V>(0);
  }
};

/// dx (set): each pixel sums the samples that read it, in the order of axes, sides and outputs.
template <class T>
struct Spread : Common<T> {
  SampleGradient<T> gradient;
  T* dx;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    const auto& [ad, ah, aw] = this->axis;
    const RowPlace place(row, ad.n, ah.n);
    const int64_t outer = place.outer, d = place.d, h = place.h;
    each_position_run<Acc<T>>(this->inner, lane, count, [&]<class V, int vectors>(int64_t w, int64_t channel) {
      V sum[vectors];
      Doubles<V> whole[vectors] = {};  // of runs of kSumRun terms
      int32_t since = 0;
      bool joined = false;
      const auto join = [&] {
        for (int i = 0; i < vectors; ++i) {
          whole[i] = whole[i] + widen(sum[i]);
          sum[i] = splat<V>(0);
        }
        since = 0;
        joined = true;
      };
      TP_UNROLL
      for (int i = 0; i < vectors; ++i) sum[i] = splat<V>(0);
      const auto& [yd, yh, yw] = this->axis;
      yd.each_reader(d, [&](const Reader& rd) {
        yh.each_reader(h, [&](const Reader& rh) {
          const int64_t outputs = ((outer * yd.m + rd.output) * yh.m + rh.output) * yw.m;
          const int32_t q = (rd.side * yh.sides + rh.side) * yw.sides;
          yw.each_reader(w, [&](const Reader& rw) {
            const V weight = splat<V>(static_cast<Lane<V>>(rd.weight * rh.weight * rw.weight));
            const int64_t out = (outputs + rw.output) * this->inner + channel;
            TP_UNROLL
            for (int i = 0; i < vectors; ++i)
              sum[i] = sum[i] + weight * gradient.template at<V>(out + i * kLanes<V>, q + rw.side);
            if (++since == kSumRun) join();
          });
        });
      });
      if (joined)
        for (int i = 0; i < vectors; ++i) sum[i] = narrow<V>(whole[i] + widen(sum[i]));
      TP_UNROLL
      for (int i = 0; i < vectors; ++i) store(dx + (row * yw.n + w) * this->inner + channel + i * kLanes<V>, sum[i]);
    });
  }
};

/// Sets the sums of a row times their factors, of which lane 0 of those that share it writes; false where that has to
/// compute it again: one is not finite.
template <class A>
TP_HD TP_INLINE bool set_sums(const LaneSums<A, 6>& all, const double* factor, double* sums, int64_t lane) {
  bool finite = true;
  for (int i = 0; i < 6; ++i) {
    const double sum = sum_of_row(all.total(i));
    if (lane == 0) sums[i] = sum * factor[i];
    finite = finite && sum - sum == 0;
  }
  return finite || lane > 0;
}

/// Of one row of outputs: sums[row][axis] = sum dv dv/dq dq/dcell, sums[row][3 + axis] = the same with dq/ddelta.
template <class T>
struct ShapeBackward : Common<T> {
  SampleGradient<T> gradient;
  std::array<const Tilt*, 3> tilts;
  int32_t first_axis;
  bool with_delta;
  double* sums;
  double factor[6];  ///< of the cell in a for alpha's three axes, then 1 for delta's

  /// One of an output's samples: where it lies, how the map tilts there, and what of both is the same for all channels.
  struct Probe {
    int32_t q;
    bool whole;    ///< on a pixel: nothing is interpolated
    bool flat[3];  ///< the map is held: its derivative is 0
    const Sample* s[3];
    const Tilt* t[3];
    int64_t up[3], down[3];  ///< of a whole one: the pixels on either side, from the map's first
    Acc<T> by_cell[3], by_delta[3];
  };
  TP_HD TP_INLINE Probe probe(const int64_t* position, const int64_t* step, int32_t q, const int32_t* side) const {
    Probe p;
    p.q = q;
    p.whole = true;
    int64_t low = 0;
    for (int i = 0; i < 3; ++i) {
      const int64_t entry = position[i] * this->axis[static_cast<size_t>(i)].sides + side[i];
      p.s[i] = this->axis[static_cast<size_t>(i)].samples + entry;
      p.t[i] = tilts[static_cast<size_t>(i)] + entry;
      low += p.s[i]->low * step[i];
      p.whole = p.whole && p.s[i]->low == p.s[i]->high;
    }
    for (int i = first_axis; i < 3; ++i) {
      const Tilt& t = *p.t[i];
      p.flat[i] = t.scale == 0;
      p.up[i] = low + (t.up - p.s[i]->low) * step[i];
      p.down[i] = low + (t.down - p.s[i]->low) * step[i];
      p.by_cell[i] = static_cast<Acc<T>>(t.scale * t.by_cell);
      p.by_delta[i] = static_cast<Acc<T>>(t.scale * t.by_delta);
    }
    return p;
  }

  /// What of the kernel's case is known when it is compiled: loops unroll, and sums stay in registers.
  template <int kFirst, bool kDelta, bool kWhole>
  struct Form {};

  template <class V, int vectors, int kFirst, bool kDelta, bool kWhole, class M>
  TP_HD TP_INLINE void channels(Form<kFirst, kDelta, kWhole>, const M& map, const Probe* probes, int32_t count,
                                int64_t out, LaneSums<Acc<T>, 6>& all) const {
    V by_cell[3], by_delta[3];
    for (int i = 0; i < 3; ++i) by_cell[i] = by_delta[i] = splat<V>(0);
    for (int32_t k = 0; k < count; ++k) {
      const Probe& p = probes[k];
      V g[vectors];
      TP_UNROLL
      for (int v = 0; v < vectors; ++v) g[v] = gradient.template at<V>(out + v * kLanes<V>, p.q);
      for (int i = kFirst; i < 3; ++i) {
        if (p.flat[i]) continue;
        const Sample up{p.t[i]->up, p.t[i]->up, 0}, down{p.t[i]->down, p.t[i]->down, 0};
        TP_UNROLL
        for (int v = 0; v < vectors; ++v) {
          const int64_t on = v * kLanes<V>;
          V rise;
          if constexpr (kWhole)
            rise = load<V>(map.x + p.up[i] + on) - load<V>(map.x + p.down[i] + on);
          else
            rise = map.at(i == 0 ? up : *p.s[0], i == 1 ? up : *p.s[1], i == 2 ? up : *p.s[2], on) -
                   map.at(i == 0 ? down : *p.s[0], i == 1 ? down : *p.s[1], i == 2 ? down : *p.s[2], on);
          const V slope = g[v] * rise;
          by_cell[i] = by_cell[i] + slope * splat<V>(p.by_cell[i]);
          if constexpr (kDelta) by_delta[i] = by_delta[i] + slope * splat<V>(p.by_delta[i]);
        }
      }
    }
    for (int i = kFirst; i < 3; ++i) {
      all.add(by_cell[i], i);
      if constexpr (kDelta) all.add(by_delta[i], 3 + i);
    }
  }

  template <int kFirst, bool kDelta>
  TP_HD TP_INLINE void run(int64_t row, int64_t lane) const {
    using A = Acc<T>;
    const OutputRow at(this->axis, row);
    LaneSums<A, 6> all;
    const auto first = this->template map<A>(at.outer, 0);
    const int64_t step[3] = {first.d, first.h, first.w};
    const Share along = Share::of_positions(lane, this->inner), across = Share::of_channels(lane, this->inner);
    for (int64_t w = along.first; w < this->axis[2].m; w += along.step) {
      const int64_t position[3] = {at.d, at.h, w}, out = (row * this->axis[2].m + w) * this->inner;
      Probe probes[8];
      int32_t count = 0;
      bool whole = true;
      this->each_query([&](int32_t q, int32_t a, int32_t b, int32_t c) {
        if (this->inner == 1 && gradient.passes(out, q)) return;
        const int32_t side[3] = {a, b, c};
        probes[count] = probe(position, step, q, side);
        whole = whole && probes[count].whole;
        ++count;
      });
      const auto walk = [&](auto form) {
        each_run_of_share<A>(across, this->inner, [&]<class V, int vectors>(int64_t channel) {
          channels<V, vectors>(form, this->template map<V>(at.outer, channel), probes, count, out + channel, all);
        });
      };
      if (whole)
        walk(Form<kFirst, kDelta, true>{});
      else
        walk(Form<kFirst, kDelta, false>{});
    }
    if (!set_sums(all, factor, sums + row * 6, lane)) recompute(row);
  }
  /// The same in f64, for a row that left f32's range.
  TP_HD TP_COLD void recompute(int64_t row) const {
    const OutputRow at(this->axis, row);
    const auto first = this->template map<Acc<T>>(at.outer, 0);
    const int64_t step[3] = {first.d, first.h, first.w};
    double total[6] = {};
    for (int64_t w = 0; w < this->axis[2].m; ++w)
      this->each_query([&](int32_t q, int32_t a, int32_t b, int32_t c) {
        const int64_t position[3] = {at.d, at.h, w}, out = (row * this->axis[2].m + w) * this->inner;
        const int32_t side[3] = {a, b, c};
        const Probe p = probe(position, step, q, side);
        for (int64_t channel = 0; channel < this->inner; ++channel) {
          const auto map = this->template map<double>(at.outer, channel);
          const double g = gradient.template at<double>(out + channel, q);
          for (int i = first_axis; i < 3; ++i) {
            const Tilt& t = *p.t[i];
            if (t.scale == 0) continue;
            const Sample up{t.up, t.up, 0}, down{t.down, t.down, 0};
            const auto value = [&](const Sample& s) {
              return map(i == 0 ? s : *p.s[0], i == 1 ? s : *p.s[1], i == 2 ? s : *p.s[2]);
            };
            const double slope = g * (value(up) - value(down)) * t.scale;
            total[i] += slope * t.by_cell;
            if (with_delta) total[3 + i] += slope * t.by_delta;
          }
        }
      });
    for (int i = 0; i < 6; ++i) sums[row * 6 + i] = total[i] * factor[i];
  }

  TP_HD void operator()(int64_t row, int64_t lane, int64_t /*count*/) const {
    if (with_delta) {
      first_axis == 2 ? run<2, true>(row, lane) : first_axis == 1 ? run<1, true>(row, lane) : run<0, true>(row, lane);
    } else {
      first_axis == 2   ? run<2, false>(row, lane)
      : first_axis == 1 ? run<1, false>(row, lane)
                        : run<0, false>(row, lane);
    }
  }
};

/// ShapeBackward where samples are the pixels of 2x2 windows (DynoPoolPlan::windows): what lies around a pixel is the
/// same for all rows and channels, and only the winner of a window counts. sums[i]: of one row of outputs;
/// kLanesAlongWidth, where lanes are windows along W (plain memory), of all rows of a plane (outer, d).
template <class T, bool kLanesAlongWidth>
struct WindowShapeBackward : Common<T> {
  const T* dy;
  const uint8_t* winners;
  std::array<const Tilt*, 3> tilts;
  int32_t first_axis;
  bool with_delta;
  double* sums;
  double factor[6];  ///< of the cell in a for alpha's three axes, then 1 for delta's

  using A = Acc<T>;
  using Sums = LaneSums<A, 6>;

  /// Of one axis at an output's two pixels: the derivative's pixels, in elements from the pixel, and what it weighs.
  struct Slopes {
    int64_t up[2], down[2];
    A by_cell[2], by_delta[2];
  };
  TP_HD TP_INLINE Slopes slopes(size_t which, int64_t output, int64_t step) const {
    Slopes s;
    for (int side = 0; side < 2; ++side) {
      const Tilt& t = tilts[which][2 * output + side];
      const int64_t pixel = 2 * output + side;
      s.up[side] = (t.up - pixel) * step;
      s.down[side] = (t.down - pixel) * step;
      s.by_cell[side] = static_cast<A>(t.scale * t.by_cell);
      s.by_delta[side] = static_cast<A>(t.scale * t.by_delta);
    }
    return s;
  }

  /// One row of outputs.
  template <int kFirst, bool kDelta>
  TP_HD TP_INLINE void add_row(int64_t row, int64_t lane, Sums& all) const {
    const OutputRow at(this->axis, row);
    const auto first = this->template map<A>(at.outer, 0);
    const int64_t step[3] = {first.d, first.h, first.w}, position[3] = {at.d, at.h, 0}, m = this->axis[2].m;
    Slopes s[3];
    const T* begin = first.x;
    for (int i = kFirst; i < 2; ++i) {
      s[i] = slopes(static_cast<size_t>(i), position[i], step[i]);
      begin += 2 * position[i] * step[i];
    }
    const Share along = Share::of_positions(lane, this->inner), across = Share::of_channels(lane, this->inner);
    for (int64_t w = along.first; w < m; w += along.step) {
      const T* const window = begin + 2 * w * step[2];
      const int64_t out = (row * m + w) * this->inner;
#if !defined(TP_DEVICE_PASS)
      if constexpr (kLanesAlongWidth) {
        using V = typename detail::WideOf<A>::type;
        if (w + kLanes<V> <= m) {
          add_run<V, kFirst, kDelta>(w, window, step, s, load<V>(dy + out), load_int<V>(winners + out), all);
          w += kLanes<V> - 1;
          continue;
        }
      }
#endif
      s[2] = slopes(2, w, step[2]);
      const auto add = [&]<class V>(int64_t channel) {
        add_windows<V, kFirst, kDelta>(window + channel, step, s, load<V>(dy + out + channel),
                                       load_int<V>(winners + out + channel), all);
      };
      each_lane_of_share<A>(across, this->inner, add);
    }
  }
  /// Windows of one position on the map.
  template <class V, int kFirst, bool kDelta>
  TP_HD TP_INLINE static void add_windows(const T* window, const int64_t* step, const Slopes* s, V g, Ints<V> winner,
                                          Sums& all) {
    V by_cell[3], by_delta[3];
    for (int i = kFirst; i < 3; ++i) by_cell[i] = by_delta[i] = splat<V>(0);
    [&]<int... q>(std::integer_sequence<int, q...>) {
      (pixel<q, kFirst, kDelta>(window, step, s, winner == splat_int<V>(q) ? g : splat<V>(0), by_cell, by_delta), ...);
    }
    (std::make_integer_sequence<int, 1 << (3 - kFirst)>{});
    add_sums<kFirst, kDelta>(by_cell, by_delta, all);
  }
  template <int kFirst, bool kDelta, class V>
  TP_HD TP_INLINE static void add_sums(const V* by_cell, const V* by_delta, Sums& all) {
    for (int i = kFirst; i < 3; ++i) {
      all.add(by_cell[i], i);
      if constexpr (kDelta) all.add(by_delta[i], 3 + i);
    }
  }
  /// Adds what pixel q of a window gives, of whose value g is the gradient.
  template <int q, int kFirst, bool kDelta, class V>
  TP_HD TP_INLINE static void pixel(const T* window, const int64_t* step, const Slopes* s, V g, V* by_cell,
                                    V* by_delta) {
    constexpr int side[3] = {q / 4, q / 2 % 2, q % 2};
    const T* x = window;
    for (int i = kFirst; i < 3; ++i) x += side[i] * step[i];
    for (int i = kFirst; i < 3; ++i) {
      const V slope = g * (load<V>(x + s[i].up[side[i]]) - load<V>(x + s[i].down[side[i]]));
      by_cell[i] = by_cell[i] + slope * splat<V>(s[i].by_cell[side[i]]);
      if constexpr (kDelta) by_delta[i] = by_delta[i] + slope * splat<V>(s[i].by_delta[side[i]]);
    }
  }

#if !defined(TP_DEVICE_PASS)
  /// A run of windows along W, from w on, of plain memory. All samples are pixels: one kind of derivative and one scale
  /// serve the whole row.
  template <class V, int kFirst, bool kDelta>
  TP_INLINE void add_run(int64_t w, const T* window, const int64_t* step, const Slopes* s, V g, Ints<V> winner,
                         Sums& all) const {
    constexpr int n = kLanes<V>;
    const Tilt* const tilt = tilts[2] + 2 * w;
    const A scale = static_cast<A>(tilt->scale);
    const bool central = tilt->scale != 1, begins = w == 0, ends = w + n == this->axis[2].m;
    V by_cell[3], by_delta[3];
    TP_UNROLL
    for (int i = kFirst; i < 3; ++i) by_cell[i] = by_delta[i] = splat<V>(0);
    TP_UNROLL
    for (int r = 0; r < 1 << (2 - kFirst); ++r) {  // rows of a window
      const int side[2] = {r / 2, r % 2};
      const T* pixels = window;
      for (int i = kFirst; i < 2; ++i) pixels += side[i] * step[i];
      const V none = splat<V>(0), g_even = winner == splat_int<V>(2 * r) ? g : none,
              g_odd = winner == splat_int<V>(2 * r + 1) ? g : none;
      TP_UNROLL
      for (int i = kFirst; i < 2; ++i) {
        V up_even, up_odd, down_even, down_odd;
        load_pairs(pixels + s[i].up[side[i]], up_even, up_odd);
        load_pairs(pixels + s[i].down[side[i]], down_even, down_odd);
        const V slope = g_even * (up_even - down_even) + g_odd * (up_odd - down_odd);
        by_cell[i] = by_cell[i] + slope * splat<V>(s[i].by_cell[side[i]]);
        if constexpr (kDelta) by_delta[i] = by_delta[i] + slope * splat<V>(s[i].by_delta[side[i]]);
      }
      V even, odd;
      load_pairs(pixels, even, odd);
      const V before = move_in_first(odd, static_cast<A>(pixels[begins ? 0 : -1]));
      const V after = move_in_last(even, static_cast<A>(pixels[ends ? 2 * n - 1 : 2 * n]));
      const V slope_even = g_even * (odd - (central ? before : even)) * splat<V>(scale);
      const V slope_odd = g_odd * (after - (central ? even : odd)) * splat<V>(scale);
      // From window to window a pixel moves by one cell.
      by_cell[2] = by_cell[2] + slope_even * (lane_numbers<V>() + splat<V>(static_cast<A>(tilt[0].by_cell))) +
                   slope_odd * (lane_numbers<V>() + splat<V>(static_cast<A>(tilt[1].by_cell)));
      if constexpr (kDelta)
        by_delta[2] = by_delta[2] + slope_even * splat<V>(static_cast<A>(tilt[0].by_delta)) +
                      slope_odd * splat<V>(static_cast<A>(tilt[1].by_delta));
    }
    add_sums<kFirst, kDelta>(by_cell, by_delta, all);
  }
#endif

  template <int kFirst, bool kDelta>
  TP_HD TP_INLINE void run(int64_t row, int64_t lane) const {
    Sums all;
    if constexpr (kLanesAlongWidth)
      for (int64_t h = 0; h < this->axis[1].m; ++h) add_row<kFirst, kDelta>(row * this->axis[1].m + h, lane, all);
    else
      add_row<kFirst, kDelta>(row, lane, all);
    if (!set_sums(all, factor, sums + row * 6, lane)) recompute(row);
  }
  /// The same in f64, for a part that left f32's range.
  TP_HD TP_COLD void recompute(int64_t part) const {
    const int64_t rows = kLanesAlongWidth ? this->axis[1].m : 1, m = this->axis[2].m;
    double total[6] = {};
    for (int64_t row = part * rows; row < (part + 1) * rows; ++row) {
      const OutputRow at(this->axis, row);
      const auto first = this->template map<A>(at.outer, 0);
      const int64_t step[3] = {first.d, first.h, first.w};
      for (int64_t lane = 0; lane < m * this->inner; ++lane) {
        const int64_t out = row * m * this->inner + lane, winner = winners[out];
        const int64_t position[3] = {at.d, at.h, lane / this->inner};
        int64_t side[3], entry[3], pixel = lane % this->inner;
        for (int i = 0; i < 3; ++i) {
          side[i] = winner >> (2 - i) & 1;
          entry[i] = 2 * position[i] + side[i];
          if (i >= first_axis) pixel += entry[i] * step[i];
        }
        for (int i = first_axis; i < 3; ++i) {
          const Tilt& t = tilts[static_cast<size_t>(i)][entry[i]];
          const T* const element = first.x + pixel;
          const double slope =
              load_exact(dy + out) * t.scale *
              (load_exact(element + (t.up - entry[i]) * step[i]) - load_exact(element + (t.down - entry[i]) * step[i]));
          total[i] += slope * t.by_cell;
          if (with_delta) total[3 + i] += slope * t.by_delta;
        }
      }
    }
    for (int i = 0; i < 6; ++i) sums[part * 6 + i] = total[i] * factor[i];
  }
  TP_HD void operator()(int64_t row, int64_t lane, int64_t /*count*/) const {
    if (with_delta) {
      first_axis == 2 ? run<2, true>(row, lane) : first_axis == 1 ? run<1, true>(row, lane) : run<0, true>(row, lane);
    } else {
      first_axis == 2   ? run<2, false>(row, lane)
      : first_axis == 1 ? run<1, false>(row, lane)
                        : run<0, false>(row, lane);
    }
  }
};

}  // namespace
}  // namespace tidepool
