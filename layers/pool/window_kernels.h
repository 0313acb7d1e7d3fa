// The kernels of windowed operators (window.h says what such an operator is): how windows are walked, forward and
// backward, on any layout. Gradients are set, not added.
#pragma once
#include <type_traits>

#include "core/lanes.h"
#include "core/parallel.h"
#include "core/philox.h"
#include "layers/pool/geometry.h"
#include "layers/pool/number.h"

namespace tidepool {

/// What a forward keeps for its backward.
enum class Keeps : uint8_t {
  nothing,
  winner,  ///< Pooled::winner: 1 byte an output, 4 when a window has more than 256 elements
  input,   ///< x, from which the backward reduces the windows again: `pull` has x_i and the state
};

struct PoolText {
  const char *name, *formula, *gradient, *source;
  const char* notes = "";  ///< where it differs from the published code, and why
};

/// What reduce gives of a window.
template <class V, int kState>
struct Pooled {
  V y;
  V state[kState > 0 ? kState : 1];
  Ints<V> winner;
};

/// Where an element stands in its window.
struct WindowPlace {
  int32_t index;          ///< in window order, absent elements counted
  int32_t real, counted;  ///< elements of the window: on the map; on the map or its padding
};
/// The same with the window itself, for an operator whose `pull` needs its numbers or its other elements.
template <class W>
struct WindowElement : WindowPlace {
  const W& window;
  int64_t offset;  ///< on the map
};

/// How many learnable numbers (or tables of them) an operator has.
template <class Op>
constexpr int number_count() {
  if constexpr (requires { Op::kNumbers; })
    return Op::kNumbers;
  else
    return 0;
}
/// Whether `pull` takes its element's window (WindowElement), and not the place alone.
template <class Op, class V>
constexpr bool looks_around() {
  // A call, not an address: nvcc would compile the body for a place without a window.
  return requires(const Op& op, V v, const WindowPlace& at, const Pooled<V, Op::kState>& p) {
    op.template pull<V, WindowPlace>(v, v, at, p);
  };
}
/// Whether `reduce` sets Pooled::winner, which `pull` reads.
template <class Op>
constexpr bool has_winner() {
  if constexpr (requires { Op::kWinner; })
    return Op::kWinner;
  else
    return Op::kKeeps == Keeps::winner;
}

namespace window {

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
/// 2 columns apart.
enum class Form : uint8_t { any, two };

/// The real elements of a window, or of a run of neighbouring windows. kAlong: lanes are windows along W (plain
/// memory), else channels.
template <class V, class T, Form kForm, bool kAlong>
struct Window {
  using Value = V;
  const T* x = nullptr;  ///< the map's
  int64_t base = 0;      ///< offset of the element (0, 0, 0), real or not
  int64_t step[3];       ///< between elements of the window
  int32_t first[3], last[3], size[3];
  int32_t lane_step = 1;
  int32_t counted_places = 0;
  const Number* numbers = nullptr;
  int64_t image = 0, channel = 0, place = 0;  ///< of the output; of the first lane
  int64_t channels = 1, places = 1;

  /// Calls f(offset, index) for each element, in window order.
  template <class F>
  TP_HD TP_INLINE void each_place(F&& f) const {
    if constexpr (kForm == Form::two) {
      f(base, 0);
      f(base + step[2], 1);
      f(base + step[1], 2);
      f(base + step[1] + step[2], 3);
    } else {
      for (int32_t a = first[0]; a < last[0]; ++a)
        for (int32_t b = first[1]; b < last[1]; ++b)
          for (int32_t c = first[2]; c < last[2]; ++c)
            f(base + a * step[0] + b * step[1] + c * step[2], (a * size[1] + b) * size[2] + c);
    }
  }
  TP_HD TP_INLINE V at(int64_t offset) const { return at(x, offset); }
  /// The same of another map of x's shape and layout.
  template <class U>
  TP_HD TP_INLINE V at(const U* map, int64_t offset) const {
    if constexpr (!kAlong)
      return load<V>(map + offset);
    else
      return load_strided<V>(map + offset, kForm == Form::two ? 2 : lane_step);
  }
  /// Calls f(value, index).
  template <class F>
  TP_HD TP_INLINE void each(F&& f) const {
    if constexpr (kForm == Form::two && kAlong) {
      V v[4];
      load_pairs(x + base, v[0], v[1]);
      load_pairs(x + base + step[1], v[2], v[3]);
      TP_UNROLL
      for (int32_t i = 0; i < 4; ++i) f(v[i], i);
    } else {
      each_place([&](int64_t offset, int32_t index) { f(at(offset), index); });
    }
  }
  /// Adds to n totals at once: f(value, index, totals). A row of the window is summed by itself, so that a large window
  /// costs few digits.
  template <int n, class F>
  TP_HD TP_INLINE void totals(V (&total)[n], F&& f) const {
    for (int i = 0; i < n; ++i) total[i] = splat<V>(0);
    if constexpr (kForm == Form::two) {
      each([&](V v, int32_t index) { f(v, index, total); });
    } else {
      for (int32_t a = first[0]; a < last[0]; ++a)
        for (int32_t b = first[1]; b < last[1]; ++b) {
          V row[n];
          for (int i = 0; i < n; ++i) row[i] = splat<V>(0);
          for (int32_t c = first[2]; c < last[2]; ++c)
            f(at(base + a * step[0] + b * step[1] + c * step[2]), (a * size[1] + b) * size[2] + c, row);
          for (int i = 0; i < n; ++i) total[i] = total[i] + row[i];
        }
    }
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
  TP_HD TP_INLINE static bool starts(int32_t index) { return kForm == Form::two && index == 0; }
  /// Index of the first element.
  TP_HD TP_INLINE int32_t first_index() const {
    return kForm == Form::two ? 0 : (first[0] * size[1] + first[1]) * size[2] + first[2];
  }
  TP_HD TP_INLINE int32_t real() const {
    return kForm == Form::two ? 4 : (last[0] - first[0]) * (last[1] - first[1]) * (last[2] - first[2]);
  }
  /// Elements of the kernel, absent or not.
  TP_HD TP_INLINE int32_t volume() const { return kForm == Form::two ? 4 : size[0] * size[1] * size[2]; }
  TP_HD TP_INLINE int32_t counted() const { return kForm == Form::two ? 4 : counted_places; }

  /// Element j of the operator's number k.
  TP_HD TP_INLINE V number(int k, int64_t j = 0) const {
    const Number& n = numbers[k];
    if (!n.learned) return splat<V>(static_cast<Lane<V>>(n.fixed));
    const double* at = n.learned + j * n.units + unit(n.per);
    return spread(n.per) ? load<V>(at) : splat<V>(static_cast<Lane<V>>(*at));
  }
  /// 1 / number k, a division for all lanes where they have one number.
  TP_HD TP_INLINE V inverse_number(int k) const {
    const Number& n = numbers[k];
    if (n.learned && spread(n.per)) return splat<V>(1) / number(k);
    return splat<V>(static_cast<Lane<V>>(1 / (n.learned ? n.learned[unit(n.per)] : n.fixed)));
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
  TP_HD TP_INLINE int64_t unit(Per per) const { return per == Per::layer ? 0 : per == Per::channel ? channel : place; }
  TP_HD TP_INLINE static bool spread(Per per) { return per != Per::layer && (per == Per::place) == kAlong; }

  /// How many elements stand before v, which is element `index`, in descending order; equals stand in window order.
  TP_HD TP_INLINE Ints<V> rank(V v, int32_t index) const {
    const Ints<V> none = splat_int<V>(0), one = splat_int<V>(1);
    Ints<V> before = none;
    each([&](V other, int32_t at) {
      before = before + (at < index ? (other >= v ? one : none) : (other > v ? one : none));
    });
    return before;
  }

  /// Uniform in [0, 1), exact in f32; one draw a window: number (image places + place) channels + channel of the stream
  /// kDraws ^ draw_step under `seed`, whatever the layout and the device.
  TP_HD TP_INLINE V uniform(uint64_t seed, uint64_t draw_step) const {
    const auto start = static_cast<uint64_t>((image * places + place) * channels + channel);
    const auto draw = [&](uint64_t i) {
      return static_cast<Lane<V>>(uniform24(random_words(seed, kDraws ^ draw_step, i / 4)[i % 4]));
    };
    if constexpr (kLanes<V> == 1) {
      return draw(start);
    } else {
      V u;
      if (!kAlong && start % 4 == 0) {  // four neighbours share a block
        for (int b = 0; b < kLanes<V> / 4; ++b) {
          const auto words = random_words(seed, kDraws ^ draw_step, start / 4 + static_cast<uint64_t>(b));
          for (int i = 0; i < 4; ++i) u[4 * b + i] = static_cast<Lane<V>>(uniform24(words[static_cast<size_t>(i)]));
        }
      } else {
        const auto apart = static_cast<uint64_t>(kAlong ? channels : 1);
        for (int i = 0; i < kLanes<V>; ++i) u[i] = draw(start + static_cast<uint64_t>(i) * apart);
      }
      return u;
    }
  }
};

/// The window of output (outer, d, h, w) whose element (0, 0, 0) lies at `base`; `channel`: offset in the inner index.
template <class V, Form kForm, bool kAlong, class T>
TP_HD TP_INLINE Window<V, T, kForm, kAlong> make_window(const WindowGeometry& g, const Number* numbers, const T* x,
                                                        int64_t outer, int64_t d, int64_t h, int64_t w, int64_t base,
                                                        int64_t channel) {
  const WindowAxis &ad = g.axis[0], &ah = g.axis[1], &aw = g.axis[2];
  const int64_t inner = kAlong ? 1 : g.map.inner;
  Window<V, T, kForm, kAlong> window;
  window.x = x;
  window.base = base;
  window.step[0] = ad.d * ah.n * aw.n * inner;
  window.step[1] = ah.d * aw.n * inner;
  window.step[2] = aw.d * inner;
  window.lane_step = aw.s;
  window.numbers = numbers;
  const bool last = g.map.inner == g.map.channels;  // then outer counts images, else images and channels
  window.image = last ? outer : outer / g.map.channels;
  window.channel = last ? channel : outer % g.map.channels;
  window.place = (d * ah.m + h) * aw.m + w;
  window.channels = g.map.channels;
  window.places = ad.m * ah.m * aw.m;
  if constexpr (kForm == Form::any) {
    const int64_t at[3] = {d, h, w};
    window.counted_places = 1;
    for (int i = 0; i < 3; ++i) {
      const WindowAxis& a = g.axis[static_cast<size_t>(i)];
      window.first[i] = a.first(at[i]);
      window.last[i] = a.last(at[i]);
      window.size[i] = a.k;
      window.counted_places *= a.counted(at[i]);
    }
  }
  return window;
}

/// A row of outputs, and where it stands; its lanes are (w, inner).
struct RowPlace {
  int64_t row, outer, d, h;

  TP_HD RowPlace(const WindowGeometry& g, int64_t at)
      : row(at), outer(at / g.axis[1].m / g.axis[0].m), d(at / g.axis[1].m % g.axis[0].m), h(at % g.axis[1].m) {}
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
template <Form kForm, bool kAlong, class T, class Body>
TP_HD TP_INLINE void walk(const WindowGeometry& g, const Number* numbers, const T* x, const RowPlace& at, int64_t lane,
                          int64_t count, const Body& body) {
  using A = Acc<T>;
  const WindowAxis &ad = g.axis[0], &ah = g.axis[1], &aw = g.axis[2];
  const int64_t inner = kAlong ? 1 : g.map.inner;
  const int64_t row = at.row, outer = at.outer, d = at.d, h = at.h;
  const int64_t origin = ((outer * ad.n + ad.start(d)) * ah.n + ah.start(h)) * aw.n * inner;
  const int64_t out = row * aw.m * inner;
  const auto make = [&]<class V>(int64_t w, int64_t c) {
    return make_window<V, kForm, kAlong>(g, numbers, x, outer, d, h, w, origin + aw.start(w) * inner + c, c);
  };

  const int64_t end = lane + count;
  if constexpr (kAlong) {
    // Windows without an absent column share their ranges, so that they can stand in one vector.
    int64_t from = lane, to = end;
    if constexpr (kForm == Form::any) {
      const int64_t low = (aw.p + aw.s - 1) / aw.s, reach = aw.n + aw.p - int64_t{aw.d} * (aw.k - 1);
      const int64_t high = reach <= 0 ? 0 : (reach + aw.s - 1) / aw.s;
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
    int64_t w = lane / inner, c = lane % inner;
    while (lane < end) {
      const int64_t run = inner - c < end - lane ? inner - c : end - lane;
      const auto window = make.template operator()<A>(w, 0);
      each_run<A>(c, run, [&]<class V>(int64_t channel) {
        Window<V, T, kForm, kAlong> one;
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
        one.counted_places = window.counted_places;
        one.numbers = numbers;
        one.image = window.image;
        one.channel = window.channel + channel;
        one.place = window.place;
        one.channels = window.channels;
        one.places = window.places;
        body(one, out + w * inner + channel);
      });
      lane += run;
      c = 0;
      ++w;
    }
  }
}

/// What an operator's `pull` needs of a window and its y does not.
template <class Op, class W, class P>
TP_HD TP_INLINE void prepare_pull(const Op& op, const W& window, P& p) {
  if constexpr (requires { op.prepare_pull(window, p); }) op.prepare_pull(window, p);
}

/// y of every window; with `winners` its winner, with `state` what `pull` needs (kState maps).
template <class Op, class T, class I, Form kForm, bool kAlong>
struct Forward {
  Op op;
  Numbers<number_count<Op>()> numbers;
  WindowGeometry g;
  const T* x;
  T* y;
  I* winners;
  Acc<T>* state;
  int64_t outputs;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const { walk_rows(row, row + 1, lane, count); }
  void rows(int64_t begin, int64_t end, int64_t lanes) const { walk_rows(begin, end, 0, lanes); }

 private:
  TP_HD TP_INLINE void walk_rows(int64_t begin, int64_t end, int64_t lane, int64_t count) const {
    const Op pool = op;  // copies: for all that a compiler knows, a store may change what `this` has
    T* const to = y;
    I* const to_winners = winners;
    Acc<T>* const to_state = state;
    const auto each = [&](const auto& window, int64_t out) {
      using V = typename std::decay_t<decltype(window)>::Value;
      auto p = pool.template reduce<V>(window);
      if (to) store(to + out, p.y);
      if constexpr (has_winner<Op>())
        if (to_winners) store_int<V>(to_winners + out, p.winner);
      if constexpr (Op::kKeeps == Keeps::input)
        if (to_state) {
          prepare_pull(pool, window, p);
          TP_UNROLL
          for (int i = 0; i < Op::kState; ++i) store(to_state + i * outputs + out, p.state[i]);
        }
    };
    for (RowPlace at(g, begin); at.row < end; at.next(g)) walk<kForm, kAlong>(g, numbers.all, x, at, lane, count, each);
  }
};

/// dx where no two windows share an element: each window writes its own. Elements in no window are zeroed before.
template <class Op, class T, class I, Form kForm, bool kAlong>
struct Own {
  Op op;
  Numbers<number_count<Op>()> numbers;
  WindowGeometry g;
  const T *x, *dy;
  const I* winners;
  T* dx;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const { walk_rows(row, row + 1, lane, count); }
  void rows(int64_t begin, int64_t end, int64_t lanes) const { walk_rows(begin, end, 0, lanes); }

 private:
  TP_HD TP_INLINE void walk_rows(int64_t begin, int64_t end, int64_t lane, int64_t count) const {
    const Op pool = op;  // copies, as in Forward
    const T* const from = dy;
    T* const to = dx;
    const auto each = [&](const auto& window, int64_t out) {
      using V = typename std::decay_t<decltype(window)>::Value;
      Pooled<V, Op::kState> p;
      const V gradient = load<V>(from + out);
      if constexpr (Op::kKeeps == Keeps::winner) p.winner = load_int<V>(winners + out);
      if constexpr (Op::kKeeps == Keeps::input) {
        p = pool.template reduce<V>(window);
        prepare_pull(pool, window, p);
      }
      const auto pull = [&](V v, int32_t index, int64_t offset) {
        using W = std::decay_t<decltype(window)>;
        return pool.template pull<V>(gradient, v,
                                     WindowElement<W>{{index, window.real(), window.counted()}, window, offset}, p);
      };
      if constexpr (kForm == Form::two) {
        int64_t at[4];
        V give[4];
        window.each_place([&](int64_t offset, int32_t index) { at[index] = offset; });
        if constexpr (Op::kKeeps == Keeps::input) window.each([&](V v, int32_t index) { give[index] = v; });
        TP_UNROLL  // then what `reduce` has computed of an element already is not computed again
            for (int i = 0; i < 4; ++i) give[i] = pull(Op::kKeeps == Keeps::input ? give[i] : splat<V>(0), i, at[i]);
        if constexpr (kAlong) {
          store_pairs(to + at[0], give[0], give[1]);
          store_pairs(to + at[2], give[2], give[3]);
        } else {
          TP_UNROLL
          for (int i = 0; i < 4; ++i) store(to + at[i], give[i]);
        }
      } else {
        window.each_place([&](int64_t offset, int32_t index) {
          const V v = pull(Op::kKeeps == Keeps::input ? window.at(offset) : splat<V>(0), index, offset);
          if constexpr (kAlong)
            store_strided(to + offset, v, window.lane_step);
          else
            store(to + offset, v);
        });
      }
    };
    for (RowPlace at(g, begin); at.row < end; at.next(g)) walk<kForm, kAlong>(g, numbers.all, x, at, lane, count, each);
  }
};

/// dx where windows overlap: a row is (outer, d, h) of the input, its lanes (w, inner); windows in their order.
template <class Op, class T, class I>
struct Gather {
  Op op;
  Numbers<number_count<Op>()> numbers;
  WindowGeometry g;
  const T *x, *dy;
  const I* winners;
  const Acc<T>* state;
  int64_t outputs;
  T* dx;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    using A = Acc<T>;
    const WindowAxis &ad = g.axis[0], &ah = g.axis[1], &aw = g.axis[2];
    const int64_t inner = g.map.inner;
    const int64_t h = row % ah.n, d = row / ah.n % ad.n, outer = row / ah.n / ad.n;
    const int64_t d0 = ad.first_covering(d), d1 = ad.last_covering(d);
    const int64_t h0 = ah.first_covering(h), h1 = ah.last_covering(h);
    const int64_t end = lane + count;
    int64_t w = lane / inner, c = lane % inner;
    while (lane < end) {
      const int64_t run = inner - c < end - lane ? inner - c : end - lane;
      const int64_t w0 = aw.first_covering(w), w1 = aw.last_covering(w);
      const int64_t in = (row * aw.n + w) * inner;
      each_run<A>(c, run, [&]<class V>(int64_t channel) {
        V v = splat<V>(0), sum = splat<V>(0);
        if constexpr (Op::kKeeps == Keeps::input) v = load<V>(x + in + channel);
        for (int64_t od = d0; od <= d1; ++od) {
          int64_t ed, eh, ew;
          if (!ad.holds(od, d, ed)) continue;
          for (int64_t oh = h0; oh <= h1; ++oh) {
            if (!ah.holds(oh, h, eh)) continue;
            for (int64_t ow = w0; ow <= w1; ++ow) {
              if (!aw.holds(ow, w, ew)) continue;
              const int64_t out = (((outer * ad.m + od) * ah.m + oh) * aw.m + ow) * inner + channel;
              Pooled<V, Op::kState> p;
              if constexpr (has_winner<Op>()) p.winner = load_int<V>(winners + out);
              if constexpr (Op::kKeeps == Keeps::input)
                for (int i = 0; i < Op::kState; ++i) p.state[i] = load<V>(state + i * outputs + out);
              const WindowPlace place{static_cast<int32_t>((ed * ah.k + eh) * aw.k + ew),
                                      ad.real(od) * ah.real(oh) * aw.real(ow),
                                      ad.counted(od) * ah.counted(oh) * aw.counted(ow)};
              const V gradient = load<V>(dy + out);
              if constexpr (looks_around<Op, V>()) {
                const int64_t base =
                    (((outer * ad.n + ad.start(od)) * ah.n + ah.start(oh)) * aw.n + aw.start(ow)) * inner + channel;
                const auto window =
                    make_window<V, Form::any, false>(g, numbers.all, x, outer, od, oh, ow, base, channel);
                const WindowElement<std::decay_t<decltype(window)>> at{place, window, in + channel};
                sum = sum + op.template pull<V>(gradient, v, at, p);
              } else {
                sum = sum + op.template pull<V>(gradient, v, place, p);
              }
            }
          }
        }
        store(dx + in + channel, sum);
      });
      lane += run;
      c = 0;
      ++w;
    }
  }
};

/// Calls f with the kernels' Form and direction of lanes as constants.
template <class F>
void dispatch_form(const WindowGeometry& g, F&& f) {
  const auto along = [&](auto kAlong) {
    const bool two = g.axis[0].k == 1 && g.axis[1].k == 2 && g.axis[2].k == 2 && g.axis[1].d == 1 && g.axis[2].d == 1 &&
                     (g.axis[2].s == 2 || g.map.inner > 1) && g.all(&WindowAxis::full);
    if (two)
      f(std::integral_constant<Form, Form::two>{}, kAlong);
    else
      f(std::integral_constant<Form, Form::any>{}, kAlong);
  };
  if (g.map.inner == 1)
    along(std::true_type{});
  else
    along(std::false_type{});
}

/// Sums of a number's gradient over windows: for each chunk of rows of outputs, in f64, `slots` partial sums for each
/// of its elements. Chunks depend on shapes alone, so that the sums do not depend on the number of threads.
struct NumberSums {
  static constexpr int64_t kSlots = 16;  ///< lanes of one unit that are summed apart
  double* sums = nullptr;                ///< [chunks][count][slots]; null: not wanted
  int64_t count = 1, slots = 1;
};

template <class Op, class T, bool kAlong>
struct NumberPull {
  static constexpr int kNumbers = number_count<Op>();
  Op op;
  Numbers<kNumbers> numbers;
  WindowGeometry g;
  const T *x, *dy;
  int64_t rows, rows_a_chunk;
  NumberSums wanted[kNumbers];

  TP_HD void operator()(int64_t chunk, int64_t /*lane*/, int64_t /*count*/) const {
    for (int k = 0; k < kNumbers; ++k)
      if (wanted[k].sums)
        for (int64_t i = 0, n = wanted[k].count * wanted[k].slots; i < n; ++i) wanted[k].sums[chunk * n + i] = 0;
    const int64_t end = (chunk + 1) * rows_a_chunk < rows ? (chunk + 1) * rows_a_chunk : rows;
    for (int64_t row = chunk * rows_a_chunk; row < end; ++row)
      walk<Form::any, kAlong>(g, numbers.all, x, RowPlace(g, row), 0, g.axis[2].m * (kAlong ? 1 : g.map.inner),
                              [&](const auto& window, int64_t out) {
                                using V = typename std::decay_t<decltype(window)>::Value;
                                const auto p = op.template reduce<V>(window);
                                const V gradient = load<V>(dy + out);
                                op.template pull_numbers<V>(window, p, [&](int k, auto j, V slope) {
                                  const NumberSums& s = wanted[k];
                                  if (!s.sums) return;
                                  const Per per = numbers.all[k].per;
                                  const int64_t unit = window.unit(per) * (window.spread(per) ? 1 : s.kSlots);
                                  double* const sums = s.sums + chunk * s.count * s.slots + unit;
                                  if constexpr (std::is_integral_v<decltype(j)>)
                                    add_widened<V>(sums + j * s.slots, gradient * slope);
                                  else
                                    add_lanes<V>(sums, j, s.slots, gradient * slope);
                                });
                              });
  }
};

template <class Op>
using NumbersOf = Numbers<number_count<Op>()>;

/// An empty tensor for the winners of windows, one an output.
inline Tensor empty_winners(const WindowGeometry& g, const Dims& shape, MemoryFormat format, Device device) {
  const DType type = g.volume() > 256 ? DType::f32 : DType::u8;  // f32: 4 bytes that hold an i32
  return Tensor::empty(shape, {type, format, device});
}
inline Tensor empty_winners(const WindowGeometry& g, const Tensor& y) {
  return empty_winners(g, y.shape(), y.format(), y.device());
}

/// Launches Forward: y, and where they are given (x's type decides theirs) winners and state.
template <class Op>
void reduce(const Op& op, const NumbersOf<Op>& numbers, const WindowGeometry& g, const Tensor& x, const Tensor& y,
            const Tensor& winners, const Tensor& state) {
  dispatch_floating(x.dtype(), Op::kText.name, [&]<class T>(T) {
    dispatch_form(g, [&]<class F, class L>(F, L) {
      const auto launch = [&]<class I>(I) {
        const Forward<Op, T, I, F::value, L::value> kernel{op,
                                                           numbers,
                                                           g,
                                                           x.data<T>(),
                                                           y ? y.data<T>() : nullptr,
                                                           winners ? static_cast<I*>(winners.raw()) : nullptr,
                                                           state ? static_cast<Acc<T>*>(state.raw()) : nullptr,
                                                           g.map.outer * g.places_out() * g.map.inner};
        parallel_rows(x.device(), g.map.outer * g.axis[0].m * g.axis[1].m, g.axis[2].m * g.map.inner, g.volume(),
                      kernel);
      };
      if constexpr (has_winner<Op>() && F::value == Form::any)
        if (g.volume() > 256) return launch(int32_t{});
      launch(uint8_t{});
    });
  });
}

/// dx (set), from dy and what Keeps names.
template <class Op>
void pull(const Op& op, const NumbersOf<Op>& numbers, const WindowGeometry& g, const Tensor& x, const Tensor& kept,
          const Tensor& dy, const Tensor& dx) {
  const bool own = g.all(&WindowAxis::disjoint);
  Tensor state, winners = kept;
  const int64_t outputs = g.map.outer * g.places_out() * g.map.inner;
  if (own) {
    if (!g.all(&WindowAxis::tiled)) dx.fill(0);
  } else if constexpr (Op::kKeeps == Keeps::input && (Op::kState > 0 || has_winner<Op>())) {
    const DType type = dy.dtype() == DType::f64 ? DType::f64 : DType::f32;
    state = Tensor::empty({Op::kState, outputs}, {.dtype = type, .device = dy.device()});
    if (has_winner<Op>()) winners = empty_winners(g, {outputs}, MemoryFormat::plain, dy.device());
    reduce(op, numbers, g, x, {}, winners, state);
  }
  dispatch_floating(dy.dtype(), Op::kText.name, [&]<class T>(T) {
    const T* elements = x ? x.data<T>() : nullptr;
    const auto launch = [&]<class I>(I) {
      const I* indices = winners ? static_cast<const I*>(winners.raw()) : nullptr;
      if (own) {
        dispatch_form(g, [&]<class F, class L>(F, L) {
          const Own<Op, T, I, F::value, L::value> kernel{op, numbers, g, elements, dy.data<T>(), indices, dx.data<T>()};
          parallel_rows(dy.device(), g.map.outer * g.axis[0].m * g.axis[1].m, g.axis[2].m * g.map.inner, g.volume(),
                        kernel);
        });
      } else {
        const Acc<T>* values = state ? static_cast<const Acc<T>*>(state.raw()) : nullptr;
        const Gather<Op, T, I> kernel{op, numbers, g, elements, dy.data<T>(), indices, values, outputs, dx.data<T>()};
        parallel_rows(dy.device(), g.map.outer * g.axis[0].n * g.axis[1].n, g.axis[2].n * g.map.inner, g.volume(),
                      kernel);
      }
    };
    if constexpr (has_winner<Op>())
      if (g.volume() > 256) return launch(int32_t{});
    launch(uint8_t{});
  });
}

/// Gradients (set) of the learned numbers whose tensor in `gradients` is there, of the parameters' shapes and types.
template <class Op>
void pull_numbers(const Op& op, const NumbersOf<Op>& numbers, const NumberSpecs<number_count<Op>()>& specs,
                  const WindowGeometry& g, const Tensor& x, const Tensor& dy, std::span<const Tensor> gradients) {
  constexpr int kNumbers = number_count<Op>();
  constexpr int64_t kMostSums = 1 << 20;
  const bool along = g.map.inner == 1;
  const int64_t rows = g.map.outer * g.axis[0].m * g.axis[1].m;
  NumberSums sums[kNumbers];
  int64_t all = 1;
  for (int k = 0; k < kNumbers; ++k) {
    const Number& n = numbers.all[k];
    if (!gradients[static_cast<size_t>(k)]) continue;
    sums[k].count = specs[static_cast<size_t>(k)].count();
    const bool spread = n.per != Per::layer && (n.per == Per::place) == along;
    sums[k].slots = n.units * (spread ? 1 : NumberSums::kSlots);
    all += sums[k].count * sums[k].slots;
  }
  const int64_t most = std::clamp<int64_t>(kMostSums / all, 1, std::max<int64_t>(1, rows));
  const int64_t rows_a_chunk = std::max<int64_t>(1, (rows + most - 1) / most);
  const int64_t chunks = (rows + rows_a_chunk - 1) / rows_a_chunk;
  std::vector<Tensor> memory;
  for (int k = 0; k < kNumbers; ++k)
    if (gradients[static_cast<size_t>(k)]) {
      const Dims shape{chunks, sums[k].count, sums[k].slots};
      memory.push_back(Tensor::empty(shape, {.dtype = DType::f64, .device = dy.device()}));
      sums[k].sums = memory.back().template data<double>();
    }
  dispatch_floating(dy.dtype(), Op::kText.name, [&]<class T>(T) {
    const auto launch = [&]<class L>(L) {
      NumberPull<Op, T, L::value> kernel{op, numbers, g, x.data<T>(), dy.data<T>(), rows, rows_a_chunk, {}};
      for (int k = 0; k < kNumbers; ++k) kernel.wanted[k] = sums[k];
      parallel_rows(dy.device(), chunks, 1, rows_a_chunk * g.axis[2].m * g.map.inner * g.volume(), kernel);
    };
    if (along)
      launch(std::true_type{});
    else
      launch(std::false_type{});
  });
  for (int k = 0; k < kNumbers; ++k)
    if (gradients[static_cast<size_t>(k)])  // batch 0 has no sums
      finish_gradient(specs[static_cast<size_t>(k)], numbers.all[k], chunks, sums[k].slots, sums[k].sums,
                      gradients[static_cast<size_t>(k)]);
}

}  // namespace window

}  // namespace tidepool
