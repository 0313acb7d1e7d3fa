// Windows of any lengths: on each axis [begin, end) of positions, both rising from window to window. Adaptive grids and
// drawn windows are such. Here are their tables, made at each call, and the kernels of their maxima.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "core/lanes.h"
#include "core/parallel.h"
#include "core/sums.h"
#include "layers/pool/compiled_for.h"
#include "layers/pool/sampling.h"

namespace tidepool {

struct Span {
  int32_t begin = 0, end = 0;
  TP_HD int32_t length() const { return end - begin; }
};

/// One axis as kernels see it: n positions, m windows. With steps other than 0 each plane (image, channel) has tables
/// of its own.
struct SpanAxis {
  int64_t n = 1, m = 1;
  const Span* windows = nullptr;   ///< [planes][m]: positions of a window
  const Span* covering = nullptr;  ///< [planes][n]: windows that hold a position
  int64_t windows_step = 0, covering_step = 0;

  TP_HD Span window(int64_t plane, int64_t o) const { return windows[plane * windows_step + o]; }
  TP_HD Span covers(int64_t plane, int64_t i) const { return covering[plane * covering_step + i]; }
};

/// The axes of a map with the memory of their tables.
struct SpanAxes {
  std::array<SpanAxis, 3> axis;
  std::vector<Tensor> memory;
  int64_t volume = 1;    ///< of the largest window
  bool own = false;      ///< planes have windows of their own
  bool disjoint = true;  ///< no position lies in two windows

  /// Sets axis i: `windows` [planes][m], planes 1 when all share them.
  void set(int i, int64_t n, const std::vector<Span>& windows, int64_t planes, int64_t m, Device device);
  void share(int i, int64_t n, const std::vector<Span>& windows, Device device) {
    set(i, n, windows, 1, static_cast<int64_t>(windows.size()), device);
  }
  int64_t positions_in() const { return axis[0].n * axis[1].n * axis[2].n; }
  int64_t positions_out() const { return axis[0].m * axis[1].m * axis[2].m; }
};

/// Window o of m on an axis of n positions: [floor(o n / m), ceil((o + 1) n / m)), as torch.nn.AdaptiveMaxPool has it.
std::vector<Span> adaptive_spans(int64_t n, int64_t m);

/// The part of a larger row of positions that a kernel's map takes: dense maps have begin 0 and all = their positions.
struct PositionRange {
  int64_t begin = 0, all = 0;
};

/// An empty tensor for the winners of windows of up to `volume` elements: 1 byte each, or an i32 (as f32's 4 bytes).
inline Tensor empty_span_winners(int64_t volume, const Tensor& y) {
  return Tensor::empty(y.shape(), {volume > 256 ? DType::f32 : DType::u8, y.format(), y.device()});
}

inline namespace TP_COMPILED_FOR {
namespace spans {

/// Calls body.template operator()<V>(position, channel); kOwn: lane after lane, for tables differ from lane to lane.
template <class A, bool kOwn, class Body>
TP_HD TP_INLINE void each(int64_t inner, int64_t lane, int64_t count, const Body& body) {
  if constexpr (kOwn) {
    int64_t position = quotient(lane, inner), channel = lane - position * inner;
    for (int64_t l = lane; l < lane + count; ++l) {
      body.template operator()<A>(position, channel);
      if (++channel == inner) channel = 0, ++position;
    }
  } else {
    each_position_lane<A>(inner, lane, count, body);
  }
}

/// y (set): the largest element of every window, NaN when there is one; winners: the first such, by its number in the
/// window. A row is (outer, d, h) of the output, its lanes are (w, inner).
template <class T, class I, bool kOwn>
struct MaxKernel {
  std::array<SpanAxis, 3> axis;
  int64_t inner;
  PositionRange out;
  const T* x;
  T* y;
  I* winners;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    const RowPlace place(row, axis[0].m, axis[1].m);
    const int64_t outer = place.outer, d = place.d, h = place.h;
    each<Acc<T>, kOwn>(inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      const int64_t plane = kOwn ? outer * inner + channel : 0;
      const Span sd = axis[0].window(plane, d), sh = axis[1].window(plane, h), sw = axis[2].window(plane, w);
      V best = splat<V>(-INFINITY);
      Ints<V> winner = splat_int<V>(0);
      int32_t index = 0;
      for (int32_t a = sd.begin; a < sd.end; ++a)
        for (int32_t b = sh.begin; b < sh.end; ++b) {
          const T* line = x + (((outer * axis[0].n + a) * axis[1].n + b) * axis[2].n + sw.begin) * inner + channel;
          for (int32_t c = 0; c < sw.length(); ++c, ++index) {
            const V v = load<V>(line + c * inner);
            const auto wins = (v > best) | (v != v);
            best = wins ? v : best;
            winner = wins ? splat_int<V>(index) : winner;
          }
        }
      const int64_t at = (outer * out.all + out.begin + (d * axis[1].m + h) * axis[2].m + w) * inner + channel;
      store(y + at, best);
      if (winners) store_int<V>(winners + at, winner);
    });
  }
};

/// dx: each position sums dy of the windows whose winner it is, in their order; set, or added to what is there. A row
/// is (outer, d, h) of the input, its lanes are (w, inner).
template <class T, class U, class I, bool kOwn>
struct MaxBackward {
  std::array<SpanAxis, 3> axis;
  int64_t inner;
  PositionRange out;
  const T* dy;
  const I* winners;
  U* dx;
  bool add;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    const RowPlace place(row, axis[0].n, axis[1].n);
    const int64_t outer = place.outer, d = place.d, h = place.h;
    each<Acc<T>, kOwn>(inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      const int64_t plane = kOwn ? outer * inner + channel : 0;
      const Span cd = axis[0].covers(plane, d), ch = axis[1].covers(plane, h), cw = axis[2].covers(plane, w);
      LongSum<V> sum;
      for (int32_t od = cd.begin; od < cd.end; ++od)
        for (int32_t oh = ch.begin; oh < ch.end; ++oh) {
          const Span sd = axis[0].window(plane, od), sh = axis[1].window(plane, oh);
          const int64_t above = (d - sd.begin) * sh.length() + h - sh.begin;
          const int64_t line = outer * out.all + out.begin + (od * axis[1].m + oh) * axis[2].m;
          for (int32_t ow = cw.begin; ow < cw.end; ++ow) {
            const Span sw = axis[2].window(plane, ow);
            const int64_t at = (line + ow) * inner + channel;
            const auto mine = splat_int<V>(static_cast<int>(above * sw.length() + w - sw.begin));
            sum.add(load_int<V>(winners + at) == mine ? load<V>(dy + at) : splat<V>(0));
          }
        }
      const int64_t at = (row * axis[2].n + w) * inner + channel;
      store(dx + at, add ? load<V>(dx + at) + sum.total() : sum.total());
    });
  }
};

/// dx where no two windows share a position: each window adds its dy to its winner, on a map that is 0 or summed
/// before. A row is (outer, d, h) of the output, its lanes are (w, inner).
template <class T, class U, class I, bool kOwn>
struct MaxOwn {
  std::array<SpanAxis, 3> axis;
  int64_t inner;
  PositionRange out;
  const T* dy;
  const I* winners;
  U* dx;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    using A = Acc<T>;
    const RowPlace place(row, axis[0].m, axis[1].m);
    const int64_t outer = place.outer, d = place.d, h = place.h;
    each<A, true>(inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      const int64_t plane = kOwn ? outer * inner + channel : 0;
      const Span sd = axis[0].window(plane, d), sh = axis[1].window(plane, h), sw = axis[2].window(plane, w);
      const int64_t from = (outer * out.all + out.begin + (d * axis[1].m + h) * axis[2].m + w) * inner + channel;
      const auto winner = static_cast<int32_t>(winners[from]), line = winner / sw.length();
      const int64_t a = sd.begin + line / sh.length(), b = sh.begin + line % sh.length();
      const int64_t c = sw.begin + winner % sw.length();
      U* to = dx + (((outer * axis[0].n + a) * axis[1].n + b) * axis[2].n + c) * inner + channel;
      *to = static_cast<U>(static_cast<A>(*to) + static_cast<A>(dy[from]));
    });
  }
};

template <class F>
void with_own(bool own, F&& f) {
  own ? f(std::true_type{}) : f(std::false_type{});
}
template <class F>
void with_index(const Tensor& winners, F&& f) {
  if (!winners || winners.dtype() == DType::u8) return f(winners ? winners.mutable_data<uint8_t>() : nullptr);
  f(static_cast<int32_t*>(winners.mutable_raw()));
}

}  // namespace spans

/// y (set) = the maximum of every window of x; with `winners` (empty_span_winners), the first largest element's number
/// in its window. `out` names the part of y's positions that these windows fill.
inline void span_max(const char* who, const SpanAxes& axes, MapLayout map, PositionRange out, const Tensor& x,
                     const Tensor& y, const Tensor& winners) {
  dispatch_floating(x.dtype(), who, [&]<class T>(T) {
    spans::with_own(axes.own, [&](auto own) {
      spans::with_index(winners, [&]<class I>(I* indices) {
        const spans::MaxKernel<T, I, own.value> kernel{axes.axis,   map.inner,           out,
                                                       x.data<T>(), y.mutable_data<T>(), indices};
        parallel_rows(x.device(), map.outer * axes.axis[0].m * axes.axis[1].m, axes.axis[2].m * map.inner, axes.volume,
                      kernel);
      });
    });
  });
}

/// dx (set, or added to): dy at the winners. dx has dy's type or that of its sums.
inline void span_max_backward(const char* who, const SpanAxes& axes, MapLayout map, PositionRange out,
                              const Tensor& winners, const Tensor& dy, const Tensor& dx, bool add = false) {
  dispatch_floating(dy.dtype(), who, [&]<class T>(T) {
    const auto to = [&]<class U>(U* gradients) {
      spans::with_own(axes.own, [&](auto own) {
        spans::with_index(winners, [&]<class I>(I* indices) {
          if (axes.disjoint) {
            if (!add) dx.fill(0);
            const spans::MaxOwn<T, U, I, own.value> kernel{axes.axis, map.inner, out, dy.data<T>(), indices, gradients};
            return parallel_rows(dy.device(), map.outer * axes.axis[0].m * axes.axis[1].m, axes.axis[2].m * map.inner,
                                 16, kernel);
          }
          const spans::MaxBackward<T, U, I, own.value> kernel{axes.axis, map.inner, out, dy.data<T>(),
                                                              indices,   gradients, add};
          parallel_rows(dy.device(), map.outer * axes.axis[0].n * axes.axis[1].n, axes.axis[2].n * map.inner, 8,
                        kernel);
        });
      });
    };
    if (dx.dtype() == dy.dtype())
      to(dx.mutable_data<T>());
    else
      to(dx.mutable_data<Acc<T>>());
  });
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
