// Activations in kernels. The gradient is that of core/cpu/norm_formula.h: it sees the sign that the forward stored.
#pragma once
#include <cmath>

#include "core/backend/activation.h"
#include "core/cuda/block.h"

namespace tidepool::cuda {

template <class A>
TP_HD TP_INLINE A sigmoid(A v) {
  return A{1} / (A{1} + std::exp(-v));
}

template <class A>
TP_HD TP_INLINE A act_value(Act act, A v) {
  switch (act) {
    case Act::none:
      return v;
    case Act::relu:
      return v <= 0 ? A{0} : v;  // NaN stays
    case Act::relu6:
      return v <= 0 ? A{0} : v >= 6 ? A{6} : v;
    case Act::silu:
      return v * sigmoid(v);
    case Act::hardswish:
      return v <= -3 ? A{0} : v >= 3 ? v : v * (v + 3) / 6;
    case Act::sigmoid:
      return sigmoid(v);
  }
  return v;
}

template <class A>
TP_HD TP_INLINE A act_slope(Act act, A v, A zero = A{0}) {
  switch (act) {
    case Act::none:
      return A{1};
    case Act::relu:
      return v <= zero ? A{0} : A{1};
    case Act::relu6:
      return v <= zero || v >= 6 ? A{0} : A{1};
    case Act::silu: {
      const A s = sigmoid(v);
      return s + v * (s * (A{1} - s));
    }
    case Act::hardswish:
      return v <= -3 ? A{0} : v >= 3 ? A{1} : v / 3 + A{0.5};
    case Act::sigmoid:
      return sigmoid(v) * sigmoid(-v);
  }
  return A{1};
}

/// g behind the activation of v, whose result was stored as a T: a bf16 of up to 2^-134 is stored as 0.
template <class T, class A>
TP_HD TP_INLINE A act_gradient(Act act, A g, A v) {
  const A slope = act_slope<A>(act, v, std::is_same_v<T, bf16> ? static_cast<A>(0x1p-134) : A{0});
  return slope == 0 ? A{0} : slope * g;
}

}  // namespace tidepool::cuda
