// The formula of a batch norm with the activation that follows it and of their gradient, in one place: kernels over a
// map and convolutions that apply the norm as they read it give the same bits, and the gradient sees the very sign that
// the forward saw.
#pragma once
#include <type_traits>

#include "core/lane_math.h"
#include "core/lanes.h"

namespace tidepool::norm {

/// The norm of x, from centred = x - mean.
template <class V>
TP_INLINE V normed(V centred, V scale, V shift) {
  return centred * scale + shift;
}

// Activations behind a norm. apply: of the norm's value v; gradient: of a map of T, g behind the activation.
struct Identity {
  template <class V>
  static TP_INLINE V apply(V v) {
    return v;
  }
  template <class T, class V>
  static TP_INLINE V gradient(V g, V) {
    return g;
  }
};

struct Relu {
  template <class V>
  static TP_INLINE V apply(V v) {
    const V zero = splat<V>(0);
    return v <= zero ? zero : v;  // NaN stays
  }
  template <class T, class V>
  static TP_INLINE V gradient(V g, V v) {
    // A bf16 value of up to 2^-134 is stored as 0.
    const Lane<V> most = std::is_same_v<T, bf16> ? static_cast<Lane<V>>(0x1p-134) : Lane<V>{0};
    return v <= splat<V>(most) ? splat<V>(0) : g;
  }
};

struct Relu6 {
  template <class V>
  static TP_INLINE V apply(V v) {
    const V six = splat<V>(6), low = Relu::apply<V>(v);
    return low >= six ? six : low;
  }
  template <class T, class V>
  static TP_INLINE V gradient(V g, V v) {
    return v >= splat<V>(6) ? splat<V>(0) : Relu::gradient<T, V>(g, v);
  }
};

struct Silu {
  template <class V>
  static TP_INLINE V apply(V v) {
    return v * sigmoid_lanes(v);
  }
  template <class T, class V>
  static TP_INLINE V gradient(V g, V v) {
    const V s = sigmoid_lanes(v);
    return g * (s + v * (s * (splat<V>(1) - s)));
  }
};

/// dx of the norm.
template <class V>
TP_INLINE V gradient(V g, V centred, V scale, V slope, V offset) {
  return g * scale + (centred * slope + offset);
}

}  // namespace tidepool::norm
