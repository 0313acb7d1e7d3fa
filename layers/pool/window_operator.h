// What the kernels of windowed operators ask of an operator, and a window as its operator sees it (window.h says what
// such an operator is).
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
#if !defined(TP_DEVICE_PASS)
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

}  // namespace window

}  // namespace tidepool
