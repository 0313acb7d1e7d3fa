// Windows: the elements of one, or of a run of neighbours, as operators see them, and the walk over all windows of a
// map, on any layout.
#pragma once
#include <type_traits>

#include "core/lanes.h"
#include "core/philox.h"
#include "core/sums.h"
#include "layers/pool/geometry.h"
#include "layers/pool/number.h"

namespace tidepool::window {

inline constexpr uint64_t kDraws = uint64_t{0x706F6F6C} << 32;  ///< "pool", the high half of the stream of draws

/// each_lane; f64, in which nobody trains, goes without vectors: its exponentials are a call each, and compile long.
template <class A, class Body>
TP_HD TP_INLINE void each_run(int64_t first, int64_t count, Body&& body) {
  if constexpr (std::is_same_v<A, double>)
    for (int64_t lane = first; lane < first + count; ++lane) body.template operator()<double>(lane);
  else
    each_lane<A>(first, count, body);
}

/// Kernels that are compiled apart because they are common: 1x2x2 windows, none with an absent element; on plain memory
/// 2 columns apart. held: the same with the elements in registers (window_runs.h).
enum class Form : uint8_t { any, two, held };

template <class V>
struct Held {
  V v[4];
};
struct NothingHeld {};

/// The real elements of a window, or of a run of neighbouring windows. kLanesAlongWidth: lanes are windows along W
/// (plain memory), else channels.
template <class V, class T, Form kForm, bool kLanesAlongWidth>
struct Window {
  using Value = V;
  using Element = T;
  static constexpr Form kElements = kForm;
  static constexpr bool kTwo = kForm != Form::any;
  const T* x = nullptr;  ///< the map's
  int64_t base = 0;      ///< offset of the element (0, 0, 0), real or not
  int64_t step[3];       ///< between elements of the window
  int32_t first[3], last[3], size[3];
  int32_t lane_step = 1;
  int32_t counted_positions = 0;
  const Number* numbers = nullptr;
  int64_t image = 0, channel = 0, position = 0;  ///< of the output; of the first lane
  int64_t channels = 1, positions = 1;
  [[no_unique_address]] std::conditional_t<kForm == Form::held, Held<V>, NothingHeld> held = {};

  /// Calls f(offset, index) for each element, in window order.
  template <class F>
  TP_HD TP_INLINE void each_position(F&& f) const {
    if constexpr (kTwo) {
      f(base, 0);
      f(base + step[2], 1);
      f(base + step[1], 2);
      f(base + step[1] + step[2], 3);
    } else {
      TP_ROLLED
      for (int32_t a = first[0]; a < last[0]; ++a) {
        TP_ROLLED
        for (int32_t b = first[1]; b < last[1]; ++b) {
          TP_ROLLED
          for (int32_t c = first[2]; c < last[2]; ++c)
            f(base + a * step[0] + b * step[1] + c * step[2], (a * size[1] + b) * size[2] + c);
        }
      }
    }
  }
  TP_HD TP_INLINE V at(int64_t offset) const { return at(x, offset); }
  /// The same of another map of x's shape and layout.
  template <class U>
  TP_HD TP_INLINE V at(const U* map, int64_t offset) const {
    if constexpr (std::is_same_v<V, double>)
      return load_exact(map + offset);
    else if constexpr (!kLanesAlongWidth)
      return load<V>(map + offset);
    else
      return load_strided<V>(map + offset, kTwo ? 2 : lane_step);
  }
  /// Calls f(value, index).
  template <class F>
  TP_HD TP_INLINE void each(F&& f) const {
    if constexpr (kForm == Form::held) {
      TP_UNROLL
      for (int32_t i = 0; i < 4; ++i) f(held.v[i], i);
    } else if constexpr (kTwo && kLanesAlongWidth) {
      V v[4];
      load_pairs(x + base, v[0], v[1]);
      load_pairs(x + base + step[1], v[2], v[3]);
      TP_UNROLL
      for (int32_t i = 0; i < 4; ++i) f(v[i], i);
    } else {
      each_position([&](int64_t offset, int32_t index) { f(at(offset), index); });
    }
  }
  /// Asks for memory of windows some steps on, where that is worth it.
  TP_HD TP_INLINE void prefetch() const {
#if !defined(TP_DEVICE_PASS)
    constexpr int64_t kAhead = 1024 / sizeof(T);
    if constexpr (kTwo && kLanes < V >> 1)
      for (int64_t row = 0; row < 2; ++row)
        for (int64_t i = 0; i < 2; ++i)
          __builtin_prefetch(x + base + row * step[1] + i * (kLanesAlongWidth ? kLanes<V> : step[2]) + kAhead);
#endif
  }
  /// Adds to n totals at once: f(value, index, totals). Rows of the window are summed by themselves, at most kSumRun
  /// elements at a time, and runs of rows join in f64, so that a large window costs no digits.
  template <int n, class F>
  TP_HD TP_INLINE void totals(V (&total)[n], F&& f) const {
    if constexpr (kTwo) {
      for (int i = 0; i < n; ++i) total[i] = splat<V>(0);
      V v[4];  // first: GCC may leave f a call, for which the window would have to lie in memory
      each([&](V one, int32_t index) { v[index] = one; });
      TP_UNROLL
      for (int32_t i = 0; i < 4; ++i) f(v[i], i, total);
    } else {
      totals_of_positions(total, [&](int64_t offset, int32_t index, V(&part)[n]) { f(at(offset), index, part); });
    }
  }
  /// The same with f(offset, index, totals).
  template <int n, class F>
  TP_HD TP_INLINE void totals_of_positions(V (&total)[n], F&& f) const {
    for (int i = 0; i < n; ++i) total[i] = splat<V>(0);
    if constexpr (kTwo) {
      each_position([&](int64_t offset, int32_t index) { f(offset, index, total); });
    } else {
      Doubles<V> whole[n] = {};
      int32_t since = 0;
      bool joined = false;
      for (int32_t a = first[0]; a < last[0]; ++a)
        for (int32_t b = first[1]; b < last[1]; ++b)
          for (int32_t c = first[2]; c < last[2];) {
            const int32_t end = last[2] - c > kSumRun ? c + kSumRun : last[2];
            V row[n];
            for (int i = 0; i < n; ++i) row[i] = splat<V>(0);
            since += end - c;
            TP_ROLLED
            for (; c < end; ++c)
              f(base + a * step[0] + b * step[1] + c * step[2], (a * size[1] + b) * size[2] + c, row);
            for (int i = 0; i < n; ++i) total[i] = total[i] + row[i];
            if (since < kSumRun) continue;
            for (int i = 0; i < n; ++i) {
              whole[i] = whole[i] + widen(total[i]);
              total[i] = splat<V>(0);
            }
            since = 0;
            joined = true;
          }
      if (joined)
        for (int i = 0; i < n; ++i) total[i] = narrow<V>(whole[i] + widen(total[i]));
    }
  }
  /// The window of lane l, whose elements are seen in f64.
  TP_HD Window<double, T, Form::any, false> exact(int l) const {
    Window<double, T, Form::any, false> w;
    w.x = x;
    w.base = base + (kLanesAlongWidth ? int64_t{lane_step} * l : l);
    for (int i = 0; i < 3; ++i) {
      w.step[i] = step[i];
      w.first[i] = kTwo ? 0 : first[i];
      w.size[i] = kTwo ? (i == 0 ? 1 : 2) : size[i];
      w.last[i] = kTwo ? w.size[i] : last[i];
    }
    w.counted_positions = counted();
    w.numbers = numbers;
    w.image = image;
    w.channel = channel + (kLanesAlongWidth ? 0 : l);
    w.position = position + (kLanesAlongWidth ? l : 0);
    w.channels = channels;
    w.positions = positions;
    return w;
  }
  template <class F>
  TP_HD TP_INLINE V sum(F&& f) const {
    V total[1];
    totals(total, [&](V v, int32_t, V(&part)[1]) { part[0] = part[0] + f(v); });
    return total[0];
  }
  /// NaN when there is one.
  TP_HD TP_INLINE V max() const {
    V m = splat<V>(-INFINITY);
    each([&](V v, int32_t index) { m = starts(index) ? v : max_nan(m, v); });
    return m;
  }
  /// The maximum of those that are numbers, -infinity when there is none; or NaN, when the first is.
  TP_HD TP_INLINE V largest() const {
    V m = splat<V>(-INFINITY);
    each([&](V v, int32_t index) { m = starts(index) ? v : max_number(m, v); });
    return m;
  }
  /// Adds to n totals at once f(x_i - m, totals) of the elements, m = largest(), which it gives. `of_largest`: the
  /// terms of an element that is m itself, f(0).
  template <int n, class F>
  TP_HD TP_INLINE V totals_below(V (&total)[n], const Lane<V> (&/*of_largest*/)[n], F&& f) const {
    const V m = largest();
    totals(total, [&](V v, int32_t, V(&part)[n]) { f(v - m, part); });
    return m;
  }
  /// The maximum and the index of the first of the largest; NaN wins over all.
  TP_HD TP_INLINE V max_and_first(Ints<V>& winner) const {
    V m = splat<V>(-INFINITY);
    winner = splat_int<V>(first_index());
    each([&](V v, int32_t index) {
      if (starts(index)) return void(m = v);
      const auto wins = (v > m) | (v != v);
      m = wins ? v : m;
      winner = wins ? splat_int<V>(index) : winner;
    });
    return m;
  }
  /// The mean of x_i - m.
  TP_HD TP_INLINE V mean_beyond(V m) const {
    return sum([&](V v) { return v - m; }) / splat<V>(static_cast<Lane<V>>(real()));
  }
  /// The mean, summed in f64: elements of both signs may leave little of it.
  TP_HD TP_INLINE V exact_mean() const {
    Doubles<V> total{};
    each([&](V v, int32_t) { total = total + widen(v); });
    return narrow<V>(total / static_cast<double>(real()));
  }
  /// Whether the compiler knows that this is the first element.
  TP_HD TP_INLINE static bool starts(int32_t index) {
    return kTwo && index == 0;
  }
  /// Index of the first element.
  TP_HD TP_INLINE int32_t first_index() const {
    return kTwo ? 0 : (first[0] * size[1] + first[1]) * size[2] + first[2];
  }
  TP_HD TP_INLINE int32_t real() const {
    return kTwo ? 4 : (last[0] - first[0]) * (last[1] - first[1]) * (last[2] - first[2]);
  }
  /// Elements of the kernel, absent or not.
  TP_HD TP_INLINE int32_t volume() const {
    return kTwo ? 4 : size[0] * size[1] * size[2];
  }
  TP_HD TP_INLINE int32_t counted() const {
    return kTwo ? 4 : counted_positions;
  }

  /// Element j of the operator's number k.
  TP_HD TP_INLINE V number(int k, int64_t j = 0) const {
    const Number& n = numbers[k];
    if (!n.learned) return splat<V>(n.template fixed_as<Lane<V>>());
    const double* at = n.learned + j * n.units + unit(n.per);
    return spread(n.per) ? load<V>(at) : splat<V>(static_cast<Lane<V>>(*at));
  }
  /// 1 / number k; no division where the layer has one number.
  TP_HD TP_INLINE V inverse_number(int k) const {
    const Number& n = numbers[k];
    return n.learned ? splat<V>(1) / number(k) : splat<V>(n.template inverse_as<Lane<V>>());
  }
  /// Elements of number k that differ from lane to lane.
  TP_HD TP_INLINE V number_at(int k, Ints<V> j) const {
    V v{};
    each_number_at(k, j, [&](int l, double one) { set_lane(v, l, static_cast<Lane<V>>(one)); });
    return v;
  }
  TP_HD TP_INLINE Doubles<V> exact_number_at(int k, Ints<V> j) const {
    Doubles<V> v{};
    each_number_at(k, j, [&](int l, double one) { set_lane(v, l, one); });
    return v;
  }
  template <class F>
  TP_HD TP_INLINE void each_number_at(int k, Ints<V> j, const F& f) const {
    const Number& n = numbers[k];
    const double* const at = n.learned + unit(n.per);
    const int64_t next = spread(n.per) ? 1 : 0;
    if constexpr (kLanes<V> == 1)
      f(0, at[j * n.units]);
    else
      for (int l = 0; l < kLanes<V>; ++l) f(l, at[j[l] * n.units + l * next]);
  }
  /// Number k in f64.
  TP_HD TP_INLINE Doubles<V> exact_number(int k, int64_t j = 0) const {
    const Number& n = numbers[k];
    const double* at = n.learned + j * n.units + unit(n.per);
    Doubles<V> d{};
    if (!n.learned)
      d += n.fixed;
    else if (spread(n.per))
      memcpy(&d, at, sizeof d);
    else
      d += *at;
    return d;
  }
  /// Which of a number's units the first lane has, and whether the other lanes have the next ones.
  TP_HD TP_INLINE int64_t unit(Per per) const {
    return per == Per::layer ? 0 : per == Per::channel ? channel : position;
  }
  TP_HD TP_INLINE static bool spread(Per per) {
    return per != Per::layer && (per == Per::position) == kLanesAlongWidth;
  }

  /// How many elements stand before v, which is element `index`, in descending order; equals stand in window order.
  TP_HD TP_INLINE Ints<V> rank(V v, int32_t index) const {
    const Ints<V> none = splat_int<V>(0), one = splat_int<V>(1);
    Ints<V> before = none;
    each([&](V other, int32_t at) {
      before = before + (at < index ? (other >= v ? one : none) : (other > v ? one : none));
    });
    return before;
  }

  /// Uniform in [0, 1), exact in f32; one draw per window: number (image positions + position) channels + channel of
  /// the stream kDraws ^ draw_step under `seed`, whatever the layout and the device.
  TP_HD TP_INLINE V uniform(uint64_t seed, uint64_t draw_step) const {
    const auto start = static_cast<uint64_t>((image * positions + position) * channels + channel);
    const auto draw = [&](uint64_t i) {
      return static_cast<Lane<V>>(uniform24(random_words(seed, kDraws ^ draw_step, i / 4)[i % 4]));
    };
    if constexpr (kLanes<V> == 1) {
      return draw(start);
    } else {
      V u;
      if (!kLanesAlongWidth && start % 4 == 0) {  // four neighbours share a block
        for (int b = 0; b < kLanes<V> / 4; ++b) {
          const auto words = random_words(seed, kDraws ^ draw_step, start / 4 + static_cast<uint64_t>(b));
          for (int i = 0; i < 4; ++i) u[4 * b + i] = static_cast<Lane<V>>(uniform24(words[static_cast<size_t>(i)]));
        }
      } else {
        const auto apart = static_cast<uint64_t>(kLanesAlongWidth ? channels : 1);
        for (int i = 0; i < kLanes<V>; ++i) u[i] = draw(start + static_cast<uint64_t>(i) * apart);
      }
      return u;
    }
  }
};

/// A window of a layer whose numbers are all fixed: loops need not ask which they are.
template <class W>
struct Fixed : W {
  using V = typename W::Value;

  TP_HD TP_INLINE V number(int k, int64_t /*j*/ = 0) const {
    return splat<V>(this->numbers[k].template fixed_as<Lane<V>>());
  }
  TP_HD TP_INLINE V inverse_number(int k) const { return splat<V>(this->numbers[k].template inverse_as<Lane<V>>()); }
};

/// A window whose elements are looked at once: a sum of all of them may leave out the largest, whose term is known.
/// (Where a gradient asks for each element's term afterwards, they are cheaper in window order.)
template <class W>
struct Once : W {
  using V = typename W::Value;

  template <int n, class F>
  TP_HD TP_INLINE V totals_below(V (&total)[n], const Lane<V> (&of_largest)[n], F&& f) const {
    if constexpr (W::kTwo) {
      V v[4];
      this->each([&](V one, int32_t index) { v[index] = one; });
      V low[3], high[2];
      TP_UNROLL
      for (int i = 0; i < 2; ++i) sort_lanes(v[2 * i], v[2 * i + 1], low[i], high[i]);
      V m;
      sort_lanes(high[0], high[1], low[2], m);
      TP_UNROLL
      for (int i = 0; i < n; ++i) total[i] = splat<V>(of_largest[i]);
      TP_UNROLL
      for (int i = 0; i < 3; ++i) f(low[i] - m, total);
      return m;
    } else {
      return W::totals_below(total, of_largest, f);
    }
  }
};

/// The window of output (outer, d, h, w) whose element (0, 0, 0) lies at `base`; `channel`: offset in the inner index.
template <class V, Form kForm, bool kLanesAlongWidth, class T>
TP_HD TP_INLINE Window<V, T, kForm, kLanesAlongWidth> make_window(const WindowGeometry& g, const Number* numbers,
                                                                  const T* x, int64_t outer, int64_t d, int64_t h,
                                                                  int64_t w, int64_t base, int64_t channel) {
  const WindowAxis &ad = g.axis[0], &ah = g.axis[1], &aw = g.axis[2];
  const int64_t inner = kLanesAlongWidth ? 1 : g.map.inner;
  Window<V, T, kForm, kLanesAlongWidth> window;
  window.x = x;
  window.base = base;
  window.step[0] = ad.d * ah.n * aw.n * inner;
  window.step[1] = ah.d * aw.n * inner;
  window.step[2] = aw.d * inner;
  window.lane_step = aw.s;
  window.numbers = numbers;
  const bool last = g.map.inner == g.map.channels;  // then outer counts images, else images and channels
  window.image = last ? outer : quotient(outer, g.map.channels);
  window.channel = last ? channel : outer - window.image * g.map.channels;
  window.position = (d * ah.m + h) * aw.m + w;
  window.channels = g.map.channels;
  window.positions = ad.m * ah.m * aw.m;
  if constexpr (kForm == Form::any) {
    const int64_t at[3] = {d, h, w};
    window.counted_positions = 1;
    for (int i = 0; i < 3; ++i) {
      const WindowAxis& a = g.axis[static_cast<size_t>(i)];
      window.first[i] = a.first(at[i]);
      window.last[i] = a.last(at[i]);
      window.size[i] = a.k;
      window.counted_positions *= a.counted(at[i]);
    }
  }
  return window;
}

/// A row of outputs, and where it stands; its lanes are (w, inner).
struct RowPosition : RowPlace {
  int64_t row;

  TP_HD RowPosition(const WindowGeometry& g, int64_t at) : RowPlace(at, g.axis[0].m, g.axis[1].m), row(at) {}
  TP_HD TP_INLINE void next(const WindowGeometry& g) {
    ++row;
    if (++h < g.axis[1].m) return;
    h = 0;
    if (++d < g.axis[0].m) return;
    d = 0;
    ++outer;
  }
};

/// Walks windows: calls body.template window<V>(Window, offset of its output) for lanes [lane, lane + count) of a row
/// of outputs.
template <Form kForm, bool kLanesAlongWidth, class T, class Body>
TP_HD TP_INLINE void walk(const WindowGeometry& g, const Number* numbers, const T* x, const RowPosition& at,
                          int64_t lane, int64_t count, const Body& body) {
  using A = Acc<T>;
  const WindowAxis &ad = g.axis[0], &ah = g.axis[1], &aw = g.axis[2];
  const int64_t inner = kLanesAlongWidth ? 1 : g.map.inner;
  const int64_t row = at.row, outer = at.outer, d = at.d, h = at.h;
  const int64_t origin = ((outer * ad.n + ad.start(d)) * ah.n + ah.start(h)) * aw.n * inner;
  const int64_t out = row * aw.m * inner;
  const auto make = [&]<class V>(int64_t w, int64_t c) {
    return make_window<V, kForm, kLanesAlongWidth>(g, numbers, x, outer, d, h, w, origin + aw.start(w) * inner + c, c);
  };

  const int64_t end = lane + count;
  if constexpr (kLanesAlongWidth) {
    // Windows without an absent column share their ranges, so that they can stand in one vector.
    int64_t from = lane, to = end;
    if constexpr (kForm == Form::any) {
      const int64_t low = (aw.p + aw.s - 1) / aw.s, reach = aw.n + aw.p - int64_t{aw.d} * (aw.k - 1);
      const int64_t high = reach <= 0 ? 0 : quotient(reach + aw.s - 1, aw.s);
      from = low < lane ? lane : low < end ? low : end;
      to = high < from ? from : high < end ? high : end;
    }
    const auto scalar = [&](int64_t begin, int64_t stop) {
      for (int64_t w = begin; w < stop; ++w) body(make.template operator()<A>(w, 0), out + w);
    };
    scalar(lane, from);
    each_run<A>(from, to - from, [&]<class V>(int64_t w) { body(make.template operator()<V>(w, 0), out + w); });
    scalar(to, end);
  } else {
    int64_t w = quotient(lane, inner), c = lane - w * inner;
    while (lane < end) {
      const int64_t run = inner - c < end - lane ? inner - c : end - lane;
      const auto window = make.template operator()<A>(w, 0);
      each_run<A>(c, run, [&]<class V>(int64_t channel) {
        Window<V, T, kForm, kLanesAlongWidth> one;
        one.x = window.x;
        one.base = window.base + channel;
        for (int i = 0; i < 3; ++i) {
          one.step[i] = window.step[i];
          if constexpr (kForm == Form::any) {
            one.first[i] = window.first[i];
            one.last[i] = window.last[i];
            one.size[i] = window.size[i];
          }
        }
        one.counted_positions = window.counted_positions;
        one.numbers = numbers;
        one.image = window.image;
        one.channel = window.channel + channel;
        one.position = window.position;
        one.channels = window.channels;
        one.positions = window.positions;
        body(one, out + w * inner + channel);
      });
      lane += run;
      c = 0;
      ++w;
    }
  }
}

}  // namespace tidepool::window
