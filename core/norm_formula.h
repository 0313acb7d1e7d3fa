// The formula of a batch norm with its ReLU and of their gradient, in one place: passes over a map and convolutions
// that apply the norm as they read it give the same bits, and the gradient sees the very sign that the forward saw.
#pragma once
#include <type_traits>

#include "core/lanes.h"

namespace tidepool::norm {

/// The norm of x, from centred = x - mean.
template <class V>
TP_INLINE V normed(V centred, V scale, V shift) {
  return centred * scale + shift;
}

template <class V>
TP_INLINE V relu(V v) {
  const V zero = splat<V>(0);
  return v <= zero ? zero : v;  // NaN stays
}

/// The gradient g of a map of T behind the ReLU of `normed`. In bf16 a value of up to 2^-134 is stored as 0, and the
/// ReLU sees what is stored.
template <class T, class V>
TP_INLINE V behind_relu(V g, V normed) {
  const Lane<V> most = std::is_same_v<T, bf16> ? static_cast<Lane<V>>(0x1p-134) : Lane<V>{0};
  return normed <= splat<V>(most) ? splat<V>(0) : g;
}

/// dx of the norm.
template <class V>
TP_INLINE V gradient(V g, V centred, V scale, V slope, V offset) {
  return g * scale + (centred * slope + offset);
}

}  // namespace tidepool::norm
