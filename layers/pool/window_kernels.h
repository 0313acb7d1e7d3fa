// The kernels of windowed operators (window.h says what such an operator is): how windows are walked, forward and
// backward, on any layout. Gradients are set, not added.
#pragma once
#include <type_traits>

#include "core/lanes.h"
#include "core/parallel.h"
#include "layers/pool/geometry.h"

namespace tidepool {

/// What a forward keeps for its backward.
enum class Keeps : uint8_t {
  nothing,
  winner,  ///< Pooled::winner: 1 byte an output, 4 when a window has more than 256 elements
  input,   ///< x, from which the backward reduces the windows again: `pull` has x_i and the state
};

struct PoolText {
  const char *name, *formula, *gradient, *source;
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

namespace window {

/// Kernels that are compiled apart because they are common: 1x2x2 windows, none with an absent element, 2 columns
/// apart.
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
  TP_HD TP_INLINE V at(int64_t offset) const {
    if constexpr (!kAlong)
      return load<V>(x + offset);
    else
      return load_strided<V>(x + offset, kForm == Form::two ? 2 : lane_step);
  }
  /// Calls f(value, index).
  template <class F>
  TP_HD TP_INLINE void each(F&& f) const {
    each_place([&](int64_t offset, int32_t index) { f(at(offset), index); });
  }
  template <class F>
  TP_HD TP_INLINE V sum(F&& f) const {
    V total = splat<V>(0);
    each([&](V v, int32_t) { total = total + f(v); });
    return total;
  }
  /// NaN when there is one.
  TP_HD TP_INLINE V max() const {
    V m = splat<V>(-INFINITY);
    each([&](V v, int32_t) { m = max_nan(m, v); });
    return m;
  }
  /// Index of the first element.
  TP_HD TP_INLINE int32_t first_index() const {
    return kForm == Form::two ? 0 : (first[0] * size[1] + first[1]) * size[2] + first[2];
  }
  TP_HD TP_INLINE int32_t real() const {
    return kForm == Form::two ? 4 : (last[0] - first[0]) * (last[1] - first[1]) * (last[2] - first[2]);
  }
  TP_HD TP_INLINE int32_t counted() const { return kForm == Form::two ? 4 : counted_places; }
};

/// Walks windows: calls body.template window<V>(Window, offset of its output) for lanes [lane, lane + count) of a row
/// of outputs. A row is (outer, d, h); its lanes are (w, inner).
template <Form kForm, bool kAlong, class T, class Body>
TP_HD TP_INLINE void walk(const WindowGeometry& g, const T* x, int64_t row, int64_t lane, int64_t count,
                          const Body& body) {
  using A = Acc<T>;
  const WindowAxis &ad = g.axis[0], &ah = g.axis[1], &aw = g.axis[2];
  const int64_t inner = kAlong ? 1 : g.map.inner;
  const int64_t h = row % ah.m, d = row / ah.m % ad.m, outer = row / ah.m / ad.m;
  const int64_t origin = ((outer * ad.n + ad.start(d)) * ah.n + ah.start(h)) * aw.n * inner;
  const int64_t out = row * aw.m * inner;

  const auto make = [&]<class V>(int64_t w, int64_t c) {
    Window<V, T, kForm, kAlong> window;
    window.x = x;
    window.base = origin + aw.start(w) * inner + c;
    window.step[0] = ad.d * ah.n * aw.n * inner;
    window.step[1] = ah.d * aw.n * inner;
    window.step[2] = aw.d * inner;
    window.lane_step = aw.s;
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
    each_lane<A>(from, to - from, [&]<class V>(int64_t w) { body(make.template operator()<V>(w, 0), out + w); });
    scalar(to, end);
  } else {
    int64_t w = lane / inner, c = lane % inner;
    while (lane < end) {
      const int64_t run = inner - c < end - lane ? inner - c : end - lane;
      const auto window = make.template operator()<A>(w, 0);
      each_lane<A>(c, run, [&]<class V>(int64_t channel) {
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
        body(one, out + w * inner + channel);
      });
      lane += run;
      c = 0;
      ++w;
    }
  }
}

/// y of every window; with `winners` its winner, with `state` what `pull` needs (kState maps).
template <class Op, class T, class I, Form kForm, bool kAlong>
struct Forward {
  Op op;
  WindowGeometry g;
  const T* x;
  T* y;
  I* winners;
  Acc<T>* state;
  int64_t outputs;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    walk<kForm, kAlong>(g, x, row, lane, count, [&](const auto& window, int64_t out) {
      using V = typename std::decay_t<decltype(window)>::Value;
      const auto p = op.template reduce<V>(window);
      if (y) store(y + out, p.y);
      if constexpr (Op::kKeeps == Keeps::winner)
        if (winners) store_int<V>(winners + out, p.winner);
      if constexpr (Op::kKeeps == Keeps::input)
        if (state) {
          for (int i = 0; i < Op::kState; ++i) store(state + i * outputs + out, p.state[i]);
        }
    });
  }
};

/// dx where no two windows share an element: each window writes its own. Elements in no window are zeroed before.
template <class Op, class T, class I, Form kForm, bool kAlong>
struct Own {
  Op op;
  WindowGeometry g;
  const T *x, *dy;
  const I* winners;
  T* dx;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    walk<kForm, kAlong>(g, x, row, lane, count, [&](const auto& window, int64_t out) {
      using V = typename std::decay_t<decltype(window)>::Value;
      Pooled<V, Op::kState> p;
      const V gradient = load<V>(dy + out);
      if constexpr (Op::kKeeps == Keeps::winner) p.winner = load_int<V>(winners + out);
      if constexpr (Op::kKeeps == Keeps::input) p = op.template reduce<V>(window);
      const auto pull = [&](V v, int32_t index) {
        return op.template pull<V>(gradient, v, WindowPlace{index, window.real(), window.counted()}, p);
      };
      const auto element = [&](int64_t offset) {
        if constexpr (Op::kKeeps == Keeps::input)
          return window.at(offset);
        else
          return splat<V>(0);
      };
      if constexpr (kForm == Form::two) {
        int64_t at[4];
        V give[4];
        window.each_place([&](int64_t offset, int32_t index) {
          at[index] = offset;
          give[index] = element(offset);
        });
        for (int i = 0; i < 4; ++i) give[i] = pull(give[i], i);
        if constexpr (kAlong) {
          store_pairs(dx + at[0], give[0], give[1]);
          store_pairs(dx + at[2], give[2], give[3]);
        } else {
          for (int i = 0; i < 4; ++i) store(dx + at[i], give[i]);
        }
      } else {
        window.each_place([&](int64_t offset, int32_t index) {
          const V v = pull(element(offset), index);
          if constexpr (kAlong)
            store_strided(dx + offset, v, window.lane_step);
          else
            store(dx + offset, v);
        });
      }
    });
  }
};

/// dx where windows overlap: a row is (outer, d, h) of the input, its lanes (w, inner); windows in their order.
template <class Op, class T, class I>
struct Gather {
  Op op;
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
      each_lane<A>(c, run, [&]<class V>(int64_t channel) {
        V v = splat<V>(0), sum = splat<V>(0);
        if constexpr (Op::kKeeps == Keeps::input) v = load<V>(x + in + channel);
        for (int64_t od = d0; od <= d1; ++od) {
          const int64_t ed = d - ad.start(od);
          if (ed % ad.d != 0) continue;
          for (int64_t oh = h0; oh <= h1; ++oh) {
            const int64_t eh = h - ah.start(oh);
            if (eh % ah.d != 0) continue;
            for (int64_t ow = w0; ow <= w1; ++ow) {
              const int64_t ew = w - aw.start(ow);
              if (ew % aw.d != 0) continue;
              const int64_t out = (((outer * ad.m + od) * ah.m + oh) * aw.m + ow) * inner + channel;
              Pooled<V, Op::kState> p;
              WindowPlace at{static_cast<int32_t>((ed / ad.d * ah.k + eh / ah.d) * aw.k + ew / aw.d), 0, 0};
              if constexpr (Op::kKeeps == Keeps::winner) p.winner = load_int<V>(winners + out);
              if constexpr (Op::kKeeps == Keeps::input)
                for (int i = 0; i < Op::kState; ++i) p.state[i] = load<V>(state + i * outputs + out);
              if constexpr (Op::kKeeps != Keeps::winner) {
                at.counted = ad.counted(od) * ah.counted(oh) * aw.counted(ow);
                at.real = (ad.last(od) - ad.first(od)) * (ah.last(oh) - ah.first(oh)) * (aw.last(ow) - aw.first(ow));
              }
              sum = sum + op.template pull<V>(load<V>(dy + out), v, at, p);
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
                     g.axis[2].s == 2 && g.all(&WindowAxis::full);
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

/// Launches Forward: y, and where they are given (x's type decides theirs) winners and state.
template <class Op>
void reduce(const Op& op, const WindowGeometry& g, const Tensor& x, const Tensor& y, const Tensor& winners,
            const Tensor& state) {
  dispatch_floating(x.dtype(), Op::kText.name, [&]<class T>(T) {
    dispatch_form(g, [&]<class F, class L>(F, L) {
      const auto launch = [&]<class I>(I) {
        const Forward<Op, T, I, F::value, L::value> kernel{op,
                                                           g,
                                                           x.data<T>(),
                                                           y ? y.data<T>() : nullptr,
                                                           winners ? static_cast<I*>(winners.raw()) : nullptr,
                                                           state ? static_cast<Acc<T>*>(state.raw()) : nullptr,
                                                           g.map.outer * g.places_out() * g.map.inner};
        parallel_rows(x.device(), g.map.outer * g.axis[0].m * g.axis[1].m, g.axis[2].m * g.map.inner, g.volume(),
                      kernel);
      };
      if constexpr (Op::kKeeps == Keeps::winner && F::value == Form::any)
        if (g.volume() > 256) return launch(int32_t{});
      launch(uint8_t{});
    });
  });
}

/// dx (set), from dy and what Keeps names.
template <class Op>
void pull(const Op& op, const WindowGeometry& g, const Tensor& x, const Tensor& winners, const Tensor& dy,
          const Tensor& dx) {
  const bool own = g.all(&WindowAxis::disjoint);
  Tensor state;
  const int64_t outputs = g.map.outer * g.places_out() * g.map.inner;
  if (own) {
    if (!g.all(&WindowAxis::tiled)) dx.fill(0);
  } else if constexpr (Op::kKeeps == Keeps::input) {
    const DType type = dy.dtype() == DType::f64 ? DType::f64 : DType::f32;
    state = Tensor::empty({Op::kState, outputs}, {.dtype = type, .device = dy.device()});
    reduce(op, g, x, {}, {}, state);
  }
  dispatch_floating(dy.dtype(), Op::kText.name, [&]<class T>(T) {
    const T* elements = x ? x.data<T>() : nullptr;
    const auto launch = [&]<class I>(I) {
      const I* indices = winners ? static_cast<const I*>(winners.raw()) : nullptr;
      if (own) {
        dispatch_form(g, [&]<class F, class L>(F, L) {
          const Own<Op, T, I, F::value, L::value> kernel{op, g, elements, dy.data<T>(), indices, dx.data<T>()};
          parallel_rows(dy.device(), g.map.outer * g.axis[0].m * g.axis[1].m, g.axis[2].m * g.map.inner, g.volume(),
                        kernel);
        });
      } else {
        const Acc<T>* numbers = state ? static_cast<const Acc<T>*>(state.raw()) : nullptr;
        const Gather<Op, T, I> kernel{op, g, elements, dy.data<T>(), indices, numbers, outputs, dx.data<T>()};
        parallel_rows(dy.device(), g.map.outer * g.axis[0].n * g.axis[1].n, g.axis[2].n * g.map.inner, g.volume(),
                      kernel);
      }
    };
    if constexpr (Op::kKeeps == Keeps::winner)
      if (g.volume() > 256) return launch(int32_t{});
    launch(uint8_t{});
  });
}

/// An empty tensor for the winners of y's windows, in y's format.
inline Tensor empty_winners(const WindowGeometry& g, const Tensor& y) {
  const DType type = g.volume() > 256 ? DType::f32 : DType::u8;  // f32: 4 bytes that hold an i32
  return Tensor::empty(y.shape(), {type, y.format(), y.device()});
}

}  // namespace window

}  // namespace tidepool
