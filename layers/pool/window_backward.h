// The kernels of windowed operators that give dx, where windows are disjoint, where they overlap, and of operators of
// ranks. Gradients are set, not added.
#pragma once
#include "layers/pool/window_operator.h"

namespace tidepool {

namespace window {

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
    const RowPlace place(row, ad.n, ah.n);
    const int64_t outer = place.outer, d = place.d, h = place.h;
    const int64_t d0 = ad.first_covering(d), d1 = ad.last_covering(d);
    const int64_t h0 = ah.first_covering(h), h1 = ah.last_covering(h);
    const int64_t end = lane + count;
    int64_t w = quotient(lane, inner), c = lane - w * inner;
    while (lane < end) {
      const int64_t run = inner - c < end - lane ? inner - c : end - lane;
      const int64_t w0 = aw.first_covering(w), w1 = aw.last_covering(w);
      const int64_t in = (row * aw.n + w) * inner;
      each_run<A>(c, run, [&]<class V>(int64_t channel) {
        V v = splat<V>(0);
        LongSum<V> sum;
        if constexpr (Op::kKeeps == Keeps::input) v = load<V>(x + in + channel);
        TP_ROLLED
        for (int64_t od = d0; od <= d1; ++od) {
          int64_t ed, eh, ew;
          if (!ad.holds(od, d, ed)) continue;
          TP_ROLLED
          for (int64_t oh = h0; oh <= h1; ++oh) {
            if (!ah.holds(oh, h, eh)) continue;
            TP_ROLLED
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
    const RowPlace place(row, ad.n, ah.n);
    const int64_t outer = place.outer, d = place.d, h = place.h;
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

#if !defined(TP_DEVICE_PASS)
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

}  // namespace window

}  // namespace tidepool
