// The kernels of windowed operators (window.h says what such an operator is), forward and backward. Gradients are set,
// not added.
#pragma once
#include <type_traits>

#include "core/lanes.h"
#include "core/parallel.h"
#include "core/sums.h"
#include "layers/pool/behind_norm.h"
#include "layers/pool/geometry.h"
#include "layers/pool/number.h"
#include "layers/pool/ranked_window.h"
#include "layers/pool/window_bits.h"
#include "layers/pool/window_walk.h"

namespace tidepool {

/// What a forward keeps for its backward.
enum class Keeps : uint8_t {
  nothing,
  winner,  ///< Pooled::winner: 1 byte per output, 4 when a window has more than 256 elements
  input,   ///< x, from which the backward reduces the windows again: `backward` has x_i and the state
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
struct WindowPosition {
  int32_t index;          ///< in window order, absent elements counted
  int32_t real, counted;  ///< elements of the window: on the map; on the map or its padding
};
/// The same with the window itself, for an operator whose `backward` needs its numbers or its other elements.
template <class W>
struct WindowElement : WindowPosition {
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
/// Whether `backward` takes its element's window (WindowElement), and not the position alone.
template <class Op, class V>
constexpr bool looks_around() {
  // A call, not an address: nvcc would compile the body for a position without a window.
  return requires(const Op& op, V v, const WindowPosition& at, const Pooled<V, Op::kState>& p) {
    op.template backward<V, WindowPosition>(v, v, at, p);
  };
}
/// Whether `reduce` sets Pooled::winner, which `backward` reads.
template <class Op>
constexpr bool has_winner() {
  if constexpr (requires { Op::kWinner; })
    return Op::kWinner;
  else
    return Op::kKeeps == Keeps::winner;
}

/// Whether y is the first of the largest elements and dx is dy there: bf16 need not be widened for it.
template <class Op>
constexpr bool is_first_of_largest() {
  if constexpr (requires { Op::kFirstOfLargest; })
    return Op::kFirstOfLargest;
  else
    return false;
}

/// Whether an operator asks windows for ranks.
template <class Op>
constexpr bool asks_for_ranks() {
  if constexpr (requires { Op::kRanks; })
    return Op::kRanks;
  else
    return false;
}

/// How many values `gather` takes of a window, from which `finish` makes what `reduce` gives; 0 for operators that do
/// not divide it so.
template <class Op>
constexpr int gathered() {
  if constexpr (requires { Op::kGathered; })
    return Op::kGathered;
  else
    return 0;
}

namespace window {

/// What an operator's `backward` needs of a window and its y does not.
template <class Op, class W, class P>
TP_HD TP_INLINE void prepare_backward(const Op& op, const W& window, P& p) {
  if constexpr (requires { op.prepare_backward(window, p); }) op.prepare_backward(window, p);
}

/// What becomes of a window before an operator sees it, by whether all its layer's numbers are fixed.
struct AsItIs {
  template <class W>
  TP_HD TP_INLINE const W& operator()(const W& window) const {
    return window;
  }
};
struct AsFixed {
  template <class W>
  TP_HD TP_INLINE Fixed<W> operator()(const W& window) const {
    return Fixed<W>{window};
  }
};

/// A window as its operator sees it: with its ranks at hand for one that asks for them. To be kept no longer than the
/// window.
template <class Op, class W>
TP_HD TP_INLINE decltype(auto) seen_by(const W& window) {
#if !defined(__CUDACC__)
  if constexpr (asks_for_ranks<Op>() && W::kElements == Form::any)
    return RankedWindow<W>(window);
  else
#endif
    return (window);
}

// f32 has an end where a formula in f64 has none: a difference or a sum of large elements is infinite, and so is one
// over a denormal number. An operator need not mind: what comes out infinite or NaN of finite elements is computed
// again in f64, a lane at a time, and rounded.

/// Whether this can happen.
template <class Op, class V>
constexpr bool may_overflow() {
  return std::is_same_v<Lane<V>, float> && !is_first_of_largest<Op>();
}
template <class V, int kState>
TP_HD TP_INLINE V sum_of(const Pooled<V, kState>& p) {
  V sum = p.y;
  for (int i = 0; i < kState; ++i) sum = sum + p.state[i];
  return sum;
}
/// Sets p to what `reduce` and prepare_backward give in f64, and is true; false where an element is not finite.
template <class Op, class E>
TP_HD bool reduce_exact(const Op& op, const E& window, Pooled<double, Op::kState>& p) {
  bool finite = true;
  window.each([&](double v, int32_t) { finite = finite && v - v == 0; });
  if (!finite) return false;
  p = op.template reduce<double>(window);
  prepare_backward(op, window, p);
  return true;
}
/// Recomputes p, which is not finite, in f64: winners are set, and the state becomes NaN, so that the backward
/// recomputes too.
template <class Op, class W, class P>
TP_HD TP_COLD void recompute_state(const Op op, const W window, P& p) {
  for (int l = 0; l < kLanes<typename W::Value>; ++l) {
    Pooled<double, Op::kState> exact;
    if (!reduce_exact(op, seen_by<Op>(window.exact(l)), exact)) continue;
    for (int i = 0; i < Op::kState; ++i) set_lane(p.state[i], l, NAN);
    if constexpr (has_winner<Op>()) set_lane(p.winner, l, exact.winner);
  }
}
/// Recomputes the gradients of a window's elements in f64, where elements and dy are finite.
template <class Op, class W, class T>
TP_HD TP_COLD void recompute_gradients(const Op op, const W window, const typename W::Value gradient, T* dx) {
  for (int l = 0; l < kLanes<typename W::Value>; ++l) {
    const auto plain = window.exact(l);
    const auto& one = seen_by<Op>(plain);
    using E = std::decay_t<decltype(one)>;
    Pooled<double, Op::kState> p;
    const auto dy = static_cast<double>(get_lane(gradient, l));
    if (dy - dy != 0 || !reduce_exact(op, one, p)) continue;
    one.each_position([&](int64_t offset, int32_t index) {
      const WindowElement<E> at{{index, one.real(), one.counted()}, one, offset};
      dx[offset] = static_cast<T>(static_cast<Acc<T>>(op.template backward<double>(dy, one.at(offset), at, p)));
    });
  }
}

/// y of every window; with `winners` its winner, with `state` what `backward` needs (kState maps).
template <class Op, class T, class I, Form kForm, bool kLanesAlongWidth>
struct Forward {
  Op op;
  Numbers<number_count<Op>()> numbers;
  WindowGeometry g;
  const T* x;
  T* y;
  I* winners;
  Acc<T>* state;
  int64_t outputs;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    walk_rows(g, numbers, row, row + 1, lane, count);
    recompute_not_finite(row, row + 1, lane, count);
  }
  void rows(int64_t begin, int64_t end, int64_t lanes) const {
    const WindowGeometry geometry = g;  // local copies: stores may alias *this
    const auto all = numbers.resolved();
    if constexpr (gathered<Op>() > 0)
      if (!state) {
        if (all.fixed())
          two_phase_rows(geometry, all, begin, end, lanes, AsFixed{});
        else
          two_phase_rows(geometry, all, begin, end, lanes, AsItIs{});
        return recompute_not_finite(begin, end, 0, lanes);
      }
    walk_rows(geometry, all, begin, end, 0, lanes);
    recompute_not_finite(begin, end, 0, lanes);
  }

 private:
  using All = Numbers<number_count<Op>()>;

  TP_HD TP_INLINE void walk_rows(const WindowGeometry& geometry, const All& all, int64_t begin, int64_t end,
                                 int64_t lane, int64_t count) const {
    const Op pool = op;  // copies here too
    T* const to = y;
    I* const to_winners = winners;
    Acc<T>* const to_state = state;
    const int64_t maps = outputs;
    const auto each = [&](const auto& window, int64_t out) {
      using W = std::decay_t<decltype(window)>;
      using V = typename W::Value;
      auto p = pool.template reduce<V>(seen_by<Op>(Once<W>{window}));
      if constexpr (Op::kKeeps == Keeps::input)
        if (to_state) {
          prepare_backward(pool, window, p);
          if constexpr (may_overflow<Op, V>())
            if (!all_finite(sum_of(p))) {
              auto recomputed = p;  // a copy, so that p stays in registers
              recompute_state(pool, window, recomputed);
              p = recomputed;
            }
        }
      if (to) store(to + out, p.y);
      if constexpr (has_winner<Op>())
        if (to_winners) store_int<V>(to_winners + out, p.winner);
      if constexpr (Op::kKeeps == Keeps::input)
        if (to_state) {
          TP_UNROLL
          for (int i = 0; i < Op::kState; ++i) store(to_state + i * maps + out, p.state[i]);
        }
    };
    const T* const from_x = x;
    for (RowPosition at(geometry, begin); at.row < end; at.next(geometry))
      walk<kForm, kLanesAlongWidth>(geometry, all.all, from_x, at, lane, count, each);
  }
  /// y alone, in two short loops over some windows: a long one does not fit the out-of-order
  /// window, and memory waits.
  template <class Known>
  TP_INLINE void two_phase_rows(const WindowGeometry& geometry, const All& all, int64_t begin, int64_t end,
                                int64_t lanes, Known known) const {
    using A = Acc<T>;
    constexpr int64_t kRun = 256;
    const Op pool = op;
    const T* const from_x = x;
    T* const to = y;
    A kept[gathered<Op>()][kRun];
    for (RowPosition at(geometry, begin); at.row < end; at.next(geometry))
      for (int64_t lane = 0; lane < lanes; lane += kRun) {
        const int64_t first = at.row * lanes + lane, count = lanes - lane < kRun ? lanes - lane : kRun;
        walk<kForm, kLanesAlongWidth>(geometry, all.all, from_x, at, lane, count, [&](const auto& one, int64_t out) {
          const auto& window = known(one);
          using W = std::decay_t<decltype(window)>;
          window.prefetch();
          const auto p = pool.template gather<typename W::Value>(Once<W>{window});
          for (int i = 0; i < gathered<Op>(); ++i) store(kept[i] + (out - first), p.state[i]);
        });
        walk<kForm, kLanesAlongWidth>(geometry, all.all, from_x, at, lane, count, [&](const auto& one, int64_t out) {
          const auto& window = known(one);
          using V = typename std::decay_t<decltype(window)>::Value;
          Pooled<V, Op::kState> p;
          for (int i = 0; i < gathered<Op>(); ++i) p.state[i] = load<V>(kept[i] + (out - first));
          pool.finish(window, p);
          store(to + out, p.y);
        });
      }
  }
  /// Looks over results that are just written, whole rows or `count` lanes of one, apart from the loops that made them:
  /// these have no register to spare.
  TP_HD TP_NOINLINE void recompute_not_finite(int64_t begin, int64_t end, int64_t lane, int64_t count) const {
    if constexpr (may_overflow<Op, Acc<T>>()) {
      using V = Acc<T>;
      if (!y) return;
      const int64_t first = begin * g.axis[2].m * g.map.inner + lane, all = (end - begin) * count;
      V rest = 0;  // 0, or NaN once a number is not finite
#if !defined(__CUDACC__)
      auto watch = splat<typename detail::WideOf<V>::type>(0);
#endif
      const T* const from = y;
      each_lane<V>(first, all, [&]<class L>(int64_t i) {
        const L v = load<L>(from + i);
        if constexpr (kLanes<L> == 1) {
          rest = rest + (v - v);
        } else {
#if !defined(__CUDACC__)
          watch = watch + (v - v);
#endif
        }
      });
#if !defined(__CUDACC__)
      if (all_finite(watch) && all_finite(rest)) return;
#else
      if (all_finite(rest)) return;
#endif
      recompute_outputs(first, first + all);
    }
  }
  TP_HD TP_COLD void recompute_outputs(int64_t first, int64_t last) const {
    const WindowAxis &ad = g.axis[0], &ah = g.axis[1], &aw = g.axis[2];
    const int64_t inner = g.map.inner, lanes = aw.m * inner;
    for (int64_t out = first; out < last; ++out) {
      const double seen = load_exact(y + out);
      if (seen - seen == 0) continue;
      const RowPosition at(g, out / lanes);
      const int64_t w = out % lanes / inner, c = out % inner;
      const int64_t row = (at.outer * ad.n + ad.start(at.d)) * ah.n + ah.start(at.h);
      const auto window = make_window<double, Form::any, false>(g, numbers.all, x, at.outer, at.d, at.h, w,
                                                                (row * aw.n + aw.start(w)) * inner + c, c);
      Pooled<double, Op::kState> exact;
      if (!reduce_exact(op, seen_by<Op>(window), exact)) continue;
      y[out] = static_cast<T>(static_cast<Acc<T>>(exact.y));
      if constexpr (has_winner<Op>())
        if (winners) winners[out] = static_cast<I>(exact.winner);
    }
  }
};

/// dx where no two windows share an element: each window writes its own. Elements in no window are zeroed before.
template <class Op, class T, class I, Form kForm, bool kLanesAlongWidth>
struct DisjointBackward {
  Op op;
  Numbers<number_count<Op>()> numbers;
  WindowGeometry g;
  const T *x, *dy;
  const I* winners;
  T* dx;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    walk_rows(g, numbers, row, row + 1, lane, count, AsItIs{});
  }
  void rows(int64_t begin, int64_t end, int64_t lanes) const {
    const WindowGeometry geometry = g;  // local copies: stores may alias *this
    const auto all = numbers.resolved();
    if constexpr (gathered<Op>() > 0)  // others gain nothing
      if (all.fixed()) return walk_rows(geometry, all, begin, end, 0, lanes, AsFixed{});
    walk_rows(geometry, all, begin, end, 0, lanes, AsItIs{});
  }

 private:
  template <class Known>
  TP_HD TP_INLINE void walk_rows(const WindowGeometry& geometry, const Numbers<number_count<Op>()>& all, int64_t begin,
                                 int64_t end, int64_t lane, int64_t count, Known known) const {
    const Op pool = op;  // copies here too
    const T* const from = dy;
    T* const to = dx;
    const auto each = [&](const auto& one, int64_t out) {
      const auto& plain = known(one);
      const auto& window = seen_by<Op>(plain);
      using V = typename std::decay_t<decltype(window)>::Value;
      Pooled<V, Op::kState> p;
      const V gradient = load<V>(from + out);
      if constexpr (Op::kKeeps == Keeps::winner) p.winner = load_int<V>(winners + out);
      if constexpr (Op::kKeeps == Keeps::input) {
        p = pool.template reduce<V>(window);
        prepare_backward(pool, window, p);
      }
      V watch = splat<V>(0);  // not finite where a number on the way is not
      if constexpr (has_winner<Op>() && Op::kKeeps == Keeps::input) watch = sum_of(p);
      const auto backward = [&](V v, int32_t index, int64_t offset) {
        using W = std::decay_t<decltype(window)>;
        const V give = pool.template backward<V>(
            gradient, v, WindowElement<W>{{index, window.real(), window.counted()}, window, offset}, p);
        if constexpr (Op::kKeeps == Keeps::input) watch = watch + give;
        return give;
      };
      if constexpr (kForm == Form::two) {
        int64_t at[4];
        V give[4];
        window.each_position([&](int64_t offset, int32_t index) { at[index] = offset; });
        if constexpr (Op::kKeeps == Keeps::input) window.each([&](V v, int32_t index) { give[index] = v; });
        TP_UNROLL  // then what `reduce` has computed of an element already is not computed again
            for (int i = 0; i < 4; ++i) give[i] =
                backward(Op::kKeeps == Keeps::input ? give[i] : splat<V>(0), i, at[i]);
        if constexpr (kLanesAlongWidth) {
          store_pairs(to + at[0], give[0], give[1]);
          store_pairs(to + at[2], give[2], give[3]);
        } else {
          TP_UNROLL
          for (int i = 0; i < 4; ++i) store(to + at[i], give[i]);
        }
      } else {
        window.each_position([&](int64_t offset, int32_t index) {
          const V v = backward(Op::kKeeps == Keeps::input ? window.at(offset) : splat<V>(0), index, offset);
          if constexpr (kLanesAlongWidth)
            store_strided(to + offset, v, window.lane_step);
          else
            store(to + offset, v);
        });
      }
      if constexpr (Op::kKeeps == Keeps::input && may_overflow<Op, V>())
        if (!all_finite(watch)) recompute_gradients(pool, one, gradient, to);
    };
    const T* const from_x = x;
    for (RowPosition at(geometry, begin); at.row < end; at.next(geometry))
      walk<kForm, kLanesAlongWidth>(geometry, all.all, from_x, at, lane, count, each);
  }
};

/// dx where windows overlap: a row is (outer, d, h) of the input, its lanes (w, inner); windows in their order.
template <class Op, class T, class I>
struct OverlapBackward {
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
        V v = splat<V>(0);
        LongSum<V> sum;
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
              const WindowPosition position{static_cast<int32_t>((ed * ah.k + eh) * aw.k + ew),
                                            ad.real(od) * ah.real(oh) * aw.real(ow),
                                            ad.counted(od) * ah.counted(oh) * aw.counted(ow)};
              const V gradient = load<V>(dy + out);
              if constexpr (looks_around<Op, V>()) {
                const int64_t base =
                    (((outer * ad.n + ad.start(od)) * ah.n + ah.start(oh)) * aw.n + aw.start(ow)) * inner + channel;
                const auto window =
                    make_window<V, Form::any, false>(g, numbers.all, x, outer, od, oh, ow, base, channel);
                const WindowElement<std::decay_t<decltype(window)>> at{position, window, in + channel};
                sum.add(op.template backward<V>(gradient, v, at, p));
              } else {
                sum.add(op.template backward<V>(gradient, v, position, p));
              }
            }
          }
        }
        V total = sum.total();
        if constexpr (may_overflow<Op, V>())
          if (!all_finite(total)) {
            V recomputed = total;
            for (int l = 0; l < kLanes<V>; ++l) recompute_lane(row, w, channel + l, l, recomputed);
            total = recomputed;
          }
        store(dx + in + channel, total);
      });
      lane += run;
      c = 0;
      ++w;
    }
  }

 private:
  /// Lane l of a sum that is not finite, in f64; as it is where an element or dy is not finite.
  template <class V>
  TP_HD TP_COLD void recompute_lane(int64_t row, int64_t w, int64_t channel, int l, V& lanes) const {
    const WindowAxis &ad = g.axis[0], &ah = g.axis[1], &aw = g.axis[2];
    const int64_t inner = g.map.inner;
    const int64_t h = row % ah.n, d = row / ah.n % ad.n, outer = row / ah.n / ad.n;
    const int64_t in = (row * aw.n + w) * inner + channel;
    double v = 0, sum = 0;
    if constexpr (Op::kKeeps == Keeps::input) v = load_exact(x + in);
    for (int64_t od = ad.first_covering(d); od <= ad.last_covering(d); ++od) {
      int64_t ed, eh, ew;
      if (!ad.holds(od, d, ed)) continue;
      for (int64_t oh = ah.first_covering(h); oh <= ah.last_covering(h); ++oh) {
        if (!ah.holds(oh, h, eh)) continue;
        for (int64_t ow = aw.first_covering(w); ow <= aw.last_covering(w); ++ow) {
          if (!aw.holds(ow, w, ew)) continue;
          const int64_t out = (((outer * ad.m + od) * ah.m + oh) * aw.m + ow) * inner + channel;
          const int64_t base =
              (((outer * ad.n + ad.start(od)) * ah.n + ah.start(oh)) * aw.n + aw.start(ow)) * inner + channel;
          const auto window =
              make_window<double, Form::any, false>(g, numbers.all, x, outer, od, oh, ow, base, channel);
          const WindowElement<std::decay_t<decltype(window)>> at{
              {static_cast<int32_t>((ed * ah.k + eh) * aw.k + ew), window.real(), window.counted()}, window, in};
          Pooled<double, Op::kState> p{};
          const double gradient = load_exact(dy + out);
          if (gradient - gradient != 0) return;
          if constexpr (Op::kKeeps == Keeps::input)
            if (!reduce_exact(op, window, p)) return;
          if constexpr (has_winner<Op>()) p.winner = load_int<double>(winners + out);
          sum += op.template backward<double>(gradient, v, at, p);
        }
      }
    }
    set_lane(lanes, l, sum);
  }
};

#if !defined(__CUDACC__)
/// dx of an operator of ranks where windows of many elements overlap, one plane (image and channel) a row: window by
/// window, so that each is sorted once. An element's terms and their order are those of OverlapBackward.
template <class Op, class T>
struct RankedOverlapBackward {
  Op op;
  Numbers<number_count<Op>()> numbers;
  WindowGeometry g;
  const T *x, *dy;
  T* dx;

  void operator()(int64_t plane, int64_t /*lane*/, int64_t /*count*/) const {
    using A = Acc<T>;
    const int64_t inner = g.map.inner, first = first_of(plane), positions = g.positions_in();
    const auto sums = summed<A>(plane);
    std::vector<LongSum<double>> exact;
    for (int64_t i = 0; i < positions; ++i) {
      A total = sums[static_cast<size_t>(i)].total();
      if constexpr (may_overflow<Op, A>())
        if (!all_finite(total)) {
          if (exact.empty()) exact = summed<double>(plane);
          const double right = exact[static_cast<size_t>(i)].total();
          if (right == right) total = static_cast<A>(right);
        }
      store(dx + first + i * inner, total);
    }
  }

 private:
  int64_t first_of(int64_t plane) const {
    return plane / g.map.inner * g.positions_in() * g.map.inner + plane % g.map.inner;
  }
  /// Of each position. In f64, NaN where a window that covers it, or its dy, is not finite.
  template <class V>
  std::vector<LongSum<V>> summed(int64_t plane) const {
    const WindowAxis &ad = g.axis[0], &ah = g.axis[1], &aw = g.axis[2];
    const int64_t inner = g.map.inner, outer = plane / inner, channel = plane % inner, first = first_of(plane);
    std::vector<LongSum<V>> sums(static_cast<size_t>(g.positions_in()));
    for (int64_t d = 0; d < ad.m; ++d)
      for (int64_t h = 0; h < ah.m; ++h)
        for (int64_t w = 0; w < aw.m; ++w) {
          const int64_t base = ((ad.start(d) * ah.n + ah.start(h)) * aw.n + aw.start(w)) * inner;
          const auto plain = make_window<V, Form::any, false>(g, numbers.all, x, outer, d, h, w, first + base, channel);
          const auto& window = seen_by<Op>(plain);
          const V gradient =
              static_cast<V>(load_exact(dy + ((outer * ad.m + d) * ah.m + h) * aw.m * inner + w * inner + channel));
          Pooled<V, Op::kState> p;
          bool finite = true;
          if constexpr (std::is_same_v<V, Acc<T>>)
            p = op.template reduce<V>(window);
          else
            finite = gradient - gradient == 0 && reduce_exact(op, window, p);
          window.each_position([&](int64_t offset, int32_t index) {
            const WindowElement<std::decay_t<decltype(window)>> at{
                {index, window.real(), window.counted()}, window, offset};
            const V give = finite ? op.template backward<V>(gradient, window.at(offset), at, p) : V(NAN);
            sums[static_cast<size_t>((offset - first) / inner)].add(give);
          });
        }
    return sums;
  }
};
#endif

/// Calls f with the kernels' Form and direction of lanes as constants. f64 is for comparing, not for speed: one form.
template <class T, class F>
void dispatch_form(const WindowGeometry& g, F&& f) {
  const auto along = [&](auto kLanesAlongWidth) {
    const bool two = g.axis[0].k == 1 && g.axis[1].k == 2 && g.axis[2].k == 2 && g.axis[1].d == 1 && g.axis[2].d == 1 &&
                     (g.axis[2].s == 2 || g.map.inner > 1) && g.all(&WindowAxis::full);
    if constexpr (!std::is_same_v<T, double>)
      if (two) return f(std::integral_constant<Form, Form::two>{}, kLanesAlongWidth);
    f(std::integral_constant<Form, Form::any>{}, kLanesAlongWidth);
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

template <class Op, class T, bool kLanesAlongWidth>
struct NumberBackward {
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
      walk<Form::any, kLanesAlongWidth>(g, numbers.all, x, RowPosition(g, row), 0,
                                        g.axis[2].m * (kLanesAlongWidth ? 1 : g.map.inner),
                                        [&](const auto& plain, int64_t out) {
                                          const auto& window = seen_by<Op>(plain);
                                          using V = typename std::decay_t<decltype(window)>::Value;
                                          const auto p = op.template reduce<V>(window);
                                          const V gradient = load<V>(dy + out);
                                          if constexpr (may_overflow<Op, V>())
                                            if (!all_finite(sum_of(p))) return add_exact(plain, gradient, chunk);
                                          op.template backward_numbers<V>(window, p, [&](int k, auto j, V slope) {
                                            const NumberSums& s = wanted[k];
                                            if (!s.sums) return;
                                            const Per per = numbers.all[k].per;
                                            const int64_t unit = window.unit(per) * (window.spread(per) ? 1 : s.kSlots);
                                            double* const sums = s.sums + chunk * s.count * s.slots + unit;
                                            V term = gradient * slope;
                                            if constexpr (may_overflow<Op, V>())
                                              if (!all_finite(term)) {
                                                add_exact(plain, gradient, chunk, k, j);
                                                term = splat<V>(0);
                                              }
                                            if constexpr (std::is_integral_v<decltype(j)>)
                                              add_widened<V>(sums + j * s.slots, term);
                                            else
                                              add_lanes<V>(sums, j, s.slots, term);
                                          });
                                        });
  }

 private:
  /// Adds in f64 what a window gives, a lane at a time; to element `only_j` of number `only` alone where one is named.
  template <class W, class J = int32_t>
  TP_HD TP_COLD void add_exact(const W window, const typename W::Value gradient, int64_t chunk, int only = -1,
                               J only_j = {}) const {
    for (int l = 0; l < kLanes<typename W::Value>; ++l) {
      const auto plain = window.exact(l);
      const auto& one = seen_by<Op>(plain);
      int64_t wanted_j;
      if constexpr (std::is_integral_v<J>)
        wanted_j = only_j;
      else
        wanted_j = only_j[l];
      const auto p = op.template reduce<double>(one);
      const auto of_lane = static_cast<double>(get_lane(gradient, l));
      op.template backward_numbers<double>(one, p, [&](int k, int64_t j, double slope) {
        const NumberSums& s = wanted[k];
        if (!s.sums || (only >= 0 && (k != only || j != wanted_j))) return;
        const Per per = numbers.all[k].per;
        const int64_t unit = window.spread(per) ? one.unit(per) : one.unit(per) * s.kSlots + l;
        s.sums[chunk * s.count * s.slots + j * s.slots + unit] += of_lane * slope;
      });
    }
  }
};

template <class Op>
using NumbersOf = Numbers<number_count<Op>()>;

/// Whether a kernel has its way in window_bits.h.
template <class Op, class T, Form kForm, bool kLanesAlongWidth>
constexpr bool in_bits() {
  return is_first_of_largest<Op>() && std::is_same_v<T, bf16> && kForm == Form::two && !kLanesAlongWidth;
}

/// An empty tensor for the winners of windows, one an output.
inline Tensor empty_winners(const WindowGeometry& g, const Dims& shape, MemoryFormat format, Device device) {
  const DType type = g.volume() > 256 ? DType::f32 : DType::u8;  // f32: 4 bytes that hold an i32
  return Tensor::empty(shape, {type, format, device});
}
inline Tensor empty_winners(const WindowGeometry& g, const Tensor& y) {
  return empty_winners(g, y.shape(), y.format(), y.device());
}

/// Calls run(as(kernel)); the kernel reads x behind its norm where it has one.
template <class T, class Kernel, class As, class Run>
void with_norm(const Kernel& kernel, const Unwritten& norm, const As& as, const Run& run) {
#if !defined(__CUDACC__)
  if constexpr (!std::is_same_v<T, double>)
    if (norm.constants) return run(BehindNorm<Kernel, T, As>(kernel, kernel.g, norm, as));
#endif
  run(as(kernel));
}

/// Launches Forward: y, and where they are given (x's type decides theirs) winners and state. x may lie behind a norm
/// where reads_behind_norm(g).
template <class Op>
void reduce(const Op& op, const NumbersOf<Op>& numbers, const WindowGeometry& g, const Tensor& x, const Tensor& y,
            const Tensor& winners, const Tensor& state, const Unwritten& norm = {}) {
  dispatch_floating(x.dtype(), Op::kText.name, [&]<class T>(T) {
    dispatch_form<T>(g, [&]<class F, class L>(F, L) {
      const auto launch = [&]<class I>(I) {
        const Forward<Op, T, I, F::value, L::value> kernel{op,
                                                           numbers,
                                                           g,
                                                           x.data<T>(),
                                                           y ? y.mutable_data<T>() : nullptr,
                                                           winners ? static_cast<I*>(winners.mutable_raw()) : nullptr,
                                                           state ? static_cast<Acc<T>*>(state.mutable_raw()) : nullptr,
                                                           g.map.outer * g.positions_out() * g.map.inner};
        const auto run = [&](const auto& one) {
          parallel_rows(x.device(), g.map.outer * g.axis[0].m * g.axis[1].m, g.axis[2].m * g.map.inner, g.volume(),
                        one);
        };
#if !defined(__CUDACC__)
        if constexpr (in_bits<Op, T, F::value, L::value>()) {
          const auto bits = [](const auto& one) { return LargestBits<std::decay_t<decltype(one)>>{one}; };
          return with_norm<T>(kernel, norm, bits, run);
        }
#endif
        with_norm<T>(kernel, norm, Plainly{}, run);
      };
      if constexpr (has_winner<Op>() && F::value == Form::any)
        if (g.volume() > 256) return launch(int32_t{});
      launch(uint8_t{});
    });
  });
}

/// dx (set), from dy and what Keeps names. x may lie behind a norm, whose reductions are then taken.
template <class Op>
void backward(const Op& op, const NumbersOf<Op>& numbers, const WindowGeometry& g, const Tensor& x, const Tensor& kept,
              const Tensor& dy, const Tensor& dx, const Unwritten& norm = {}) {
  const bool own = g.all(&WindowAxis::disjoint);
  Tensor state, winners = kept;
  const int64_t outputs = g.map.outer * g.positions_out() * g.map.inner;
#if !defined(__CUDACC__)
  if constexpr (asks_for_ranks<Op>())
    if (!own && g.volume() > kMostCounted)
      return dispatch_floating(dy.dtype(), Op::kText.name, [&]<class T>(T) {
        const RankedOverlapBackward<Op, T> kernel{op, numbers, g, x.data<T>(), dy.data<T>(), dx.mutable_data<T>()};
        parallel_rows(dy.device(), g.map.outer * g.map.inner, 1, g.positions_out() * g.volume(), kernel);
      });
#endif
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
        dispatch_form<T>(g, [&]<class F, class L>(F, L) {
          const DisjointBackward<Op, T, I, F::value, L::value> kernel{
              op, numbers, g, elements, dy.data<T>(), indices, dx.mutable_data<T>()};
          const int64_t rows = g.map.outer * g.axis[0].m * g.axis[1].m, lanes = g.axis[2].m * g.map.inner;
          const auto run = [&](const auto& one) {
#if !defined(__CUDACC__)
            if constexpr (!std::is_same_v<T, double>)
              if (norm.sums && g.all(&WindowAxis::tiled)) {
                const int64_t grain = rows_a_chunk(lanes, g.volume());
                const Tensor parts = Tensor::empty({(rows + grain - 1) / grain, 2, g.map.inner}, {.dtype = DType::f64});
                parallel_rows(dy.device(), rows, lanes, g.volume(),
                              WithSums<std::decay_t<decltype(one)>, T>{one, g, elements, dx.mutable_data<T>(),
                                                                       norm.constants.data<float>(), norm.act,
                                                                       parts.mutable_data<double>(), grain});
                *norm.sums = norm::joined_sums(parts);
                return;
              }
#endif
            parallel_rows(dy.device(), rows, lanes, g.volume(), one);
          };
#if !defined(__CUDACC__)
          if constexpr (in_bits<Op, T, F::value, L::value>() && std::is_same_v<I, uint8_t>)
            return run(WinnersBits<decltype(kernel)>{kernel});
#endif
          if constexpr (Op::kKeeps == Keeps::input)
            with_norm<T>(kernel, norm, Plainly{}, run);
          else
            run(kernel);
        });
      } else {
        const Acc<T>* values = state ? static_cast<const Acc<T>*>(state.raw()) : nullptr;
        const OverlapBackward<Op, T, I> kernel{
            op, numbers, g, elements, dy.data<T>(), indices, values, outputs, dx.mutable_data<T>()};
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
void backward_numbers(const Op& op, const NumbersOf<Op>& numbers, const NumberSpecs<number_count<Op>()>& specs,
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
    const bool spread = n.per != Per::layer && (n.per == Per::position) == along;
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
      sums[k].sums = memory.back().template mutable_data<double>();
    }
  dispatch_floating(dy.dtype(), Op::kText.name, [&]<class T>(T) {
    const auto launch = [&]<class L>(L) {
      NumberBackward<Op, T, L::value> kernel{op, numbers, g, x.data<T>(), dy.data<T>(), rows, rows_a_chunk, {}};
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
