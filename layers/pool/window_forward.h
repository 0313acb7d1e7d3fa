// The forward kernel of windowed operators.
#pragma once
#include "layers/pool/window_operator.h"

namespace tidepool {

namespace window {

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

  /// In f64, of outputs [first, last) those that are not finite where their windows are.
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
#if !defined(TP_DEVICE_PASS)
      auto watch = splat<typename detail::WideOf<V>::type>(0);
#endif
      const T* const from = y;
      each_lane<V>(first, all, [&]<class L>(int64_t i) {
        const L v = load<L>(from + i);
        if constexpr (kLanes<L> == 1) {
          rest = rest + (v - v);
        } else {
#if !defined(TP_DEVICE_PASS)
          watch = watch + (v - v);
#endif
        }
      });
#if !defined(TP_DEVICE_PASS)
      if (all_finite(watch) && all_finite(rest)) return;
#else
      if (all_finite(rest)) return;
#endif
      recompute_outputs(first, first + all);
    }
  }
};

}  // namespace window

}  // namespace tidepool
