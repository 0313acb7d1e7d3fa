// On a GPU a thread takes a run of neighbouring channels of 2x2 windows, 16 bytes at a load and a store; what it
// computes once of where it stands serves them all.
#pragma once
#include "layers/pool/window_backward.h"
#include "layers/pool/window_forward.h"

namespace tidepool::window {

/// Whether a kernel is for runs.
template <Form kForm, bool kLanesAlongWidth>
constexpr bool takes_runs() {
#if defined(TP_DEVICE_PASS)
  return kForm == Form::two && !kLanesAlongWidth;
#else
  return false;
#endif
}

/// n neighbours in memory, of up to 16 bytes loaded or stored at once.
template <class T, int n>
struct alignas(sizeof(T) * n < 16 ? sizeof(T) * n : 16) Neighbours {
  T v[n];

  TP_HD static Neighbours load(const T* p) { return *reinterpret_cast<const Neighbours*>(p); }
  TP_HD void store(T* p) const { *reinterpret_cast<Neighbours*>(p) = *this; }
};
template <class T>
inline constexpr int kRun = 16 / static_cast<int>(sizeof(T));

/// Whether a row's lanes fall into whole runs in each of these maps.
template <class T>
bool falls_into_runs(const WindowGeometry& g, std::initializer_list<const void*> maps) {
  bool aligned = g.map.inner % kRun<T> == 0;
  for (const void* p : maps) aligned = aligned && reinterpret_cast<uintptr_t>(p) % 16 == 0;
  return aligned;
}

/// The windows of a run.
template <class T>
struct WindowRun {
  using W = Window<Acc<T>, T, Form::held, false>;
  W first;
  int64_t offset[4];  ///< of the first lane's elements
  int64_t out;        ///< of its output

  TP_HD WindowRun(const WindowGeometry& g, const Number* numbers, const T* x, int64_t row, int64_t lane) {
    const WindowAxis &ad = g.axis[0], &ah = g.axis[1], &aw = g.axis[2];
    const RowPosition at(g, row);
    const int64_t inner = g.map.inner, w = quotient(lane, inner), c = lane - w * inner;
    const int64_t in = (at.outer * ad.n + ad.start(at.d)) * ah.n + ah.start(at.h);
    first = make_window<Acc<T>, Form::held, false>(g, numbers, x, at.outer, at.d, at.h, w,
                                                   (in * aw.n + aw.start(w)) * inner + c, c);
    first.each_position([&](int64_t o, int32_t index) { offset[index] = o; });
    out = row * aw.m * inner + lane;
  }
  TP_HD void load(Neighbours<T, kRun<T>> (&elements)[4]) const {
    TP_UNROLL
    for (int i = 0; i < 4; ++i) elements[i] = Neighbours<T, kRun<T>>::load(first.x + offset[i]);
  }
  /// Lane j's, its elements left in memory.
  TP_HD W lane(int j) const {
    W w = first;
    w.base += j;
    w.channel += j;
    return w;
  }
  TP_HD W window(int j, const Neighbours<T, kRun<T>> (&elements)[4]) const {
    W w = lane(j);
    TP_UNROLL
    for (int i = 0; i < 4; ++i) w.held.v[i] = static_cast<Acc<T>>(elements[i].v[j]);
    return w;
  }
};

/// Forward for runs, without state.
template <class Op, class T, class I>
struct ForwardRuns {
  Forward<Op, T, I, Form::two, false> all;

  TP_HD void operator()(int64_t row, int64_t run, int64_t /*count*/) const {
    constexpr int n = kRun<T>;
    using A = Acc<T>;
    const WindowRun<T> at(all.g, all.numbers.all, all.x, row, run * n);
    Neighbours<T, n> elements[4], y;
    Neighbours<I, n> winners;
    at.load(elements);
    A watch = 0;  // not finite where a result is not
    TP_UNROLL
    for (int j = 0; j < n; ++j) {
      const auto window = at.window(j, elements);
      const auto p = all.op.template reduce<A>(seen_by<Op>(Once<std::decay_t<decltype(window)>>{window}));
      y.v[j] = static_cast<T>(p.y);
      watch = watch + (p.y - p.y);
      if constexpr (has_winner<Op>()) winners.v[j] = static_cast<I>(p.winner);
    }
    if (all.y) y.store(all.y + at.out);
    if constexpr (has_winner<Op>())
      if (all.winners) winners.store(all.winners + at.out);
    if constexpr (may_overflow<Op, A>())
      if (all.y && !(watch == 0)) all.recompute_outputs(at.out, at.out + n);
  }
};

/// DisjointBackward for runs.
template <class Op, class T, class I>
struct BackwardRuns {
  DisjointBackward<Op, T, I, Form::two, false> all;

  TP_HD void operator()(int64_t row, int64_t run, int64_t /*count*/) const {
    constexpr int n = kRun<T>;
    using A = Acc<T>;
    const WindowRun<T> at(all.g, all.numbers.all, all.x, row, run * n);
    const auto dy = Neighbours<T, n>::load(all.dy + at.out);
    Neighbours<T, n> elements[4] = {}, dx[4];
    Neighbours<I, n> winners;
    if constexpr (Op::kKeeps == Keeps::input) at.load(elements);
    if constexpr (Op::kKeeps == Keeps::winner) winners = Neighbours<I, n>::load(all.winners + at.out);
    uint32_t not_finite = 0;  // a bit a lane
    TP_UNROLL
    for (int j = 0; j < n; ++j) {
      const auto window = at.window(j, elements);
      using W = std::decay_t<decltype(window)>;
      const A gradient = static_cast<A>(dy.v[j]);
      Pooled<A, Op::kState> p;
      if constexpr (Op::kKeeps == Keeps::winner) p.winner = static_cast<int32_t>(winners.v[j]);
      A watch = 0;
      if constexpr (Op::kKeeps == Keeps::input) {
        p = all.op.template reduce<A>(window);
        prepare_backward(all.op, window, p);
        if constexpr (has_winner<Op>()) watch = sum_of(p);
      }
      TP_UNROLL
      for (int i = 0; i < 4; ++i) {
        const A v = Op::kKeeps == Keeps::input ? window.held.v[i] : A{0};
        const WindowElement<W> element{{i, window.real(), window.counted()}, window, at.offset[i] + j};
        const A give = all.op.template backward<A>(gradient, v, element, p);
        watch = watch + give;
        dx[i].v[j] = static_cast<T>(give);
      }
      if (!(watch - watch == 0)) not_finite |= 1u << j;
    }
    TP_UNROLL
    for (int i = 0; i < 4; ++i) dx[i].store(all.dx + at.offset[i]);
    if constexpr (Op::kKeeps == Keeps::input && may_overflow<Op, A>()) {
      // By lanes in memory: an index that is not a constant would keep the registers' arrays there too.
      for (int j = 0; not_finite >> j != 0; ++j)
        if (not_finite >> j & 1u) recompute_gradients(all.op, at.lane(j), static_cast<A>(all.dy[at.out + j]), all.dx);
    }
  }
};

}  // namespace tidepool::window
