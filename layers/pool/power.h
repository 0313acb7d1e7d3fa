// Power means of a window, y^p = sum (or mean) |x_i|^p, for lp and gem. Powers are taken of r_i = x_i / M, M the
// window's largest magnitude, as exp(p log r_i): nothing overflows, and an error of the exponent weighs as little as
// its element.
#pragma once
#include "core/lane_math.h"

namespace tidepool {

/// 1 / M, 0 where M is 0; f32: infinite where M is denormal (window_kernels.h then takes f64), f64: 0 there. Processors
/// that flush denormal numbers take them for 0.
template <class V>
TP_HD TP_INLINE V scale_of(V largest) {
  constexpr auto kSmallest = static_cast<Lane<V>>(sizeof(Lane<V>) == 4 ? 0 : 1e-307);
  return largest <= splat<V>(kSmallest) ? splat<V>(0) : splat<V>(1) / largest;
}

/// Powers of 2 that take a window's largest magnitude to [2, 4), and back: exact, where 1 / M would round. Those of the
/// least normal numbers, denormal ones and 0 are those of twice the least.
template <class V>
struct BinaryScale {
  V down, up;

  TP_HD TP_INLINE static BinaryScale of(V largest) {
    constexpr bool kFloat = sizeof(Lane<V>) == 4;
    constexpr int kDigits = kFloat ? 23 : 52;
    constexpr auto kInfinite = Ints<Lane<V>>(kFloat ? 0xff : 0x7ff) << kDigits;
    Ints<V> bits;
    memcpy(&bits, &largest, sizeof bits);
    constexpr auto kLeast = Ints<Lane<V>>(2) << kDigits;
    Ints<V> exponent = bits & kInfinite;
    exponent = exponent > kLeast ? exponent : Ints<V>{} + kLeast;
    const Ints<V> up = exponent - (Ints<Lane<V>>(1) << kDigits), down = kInfinite - exponent;
    BinaryScale s;
    memcpy(&s.down, &down, sizeof down);
    memcpy(&s.up, &up, sizeof up);
    return s;
  }
};

/// log of (mean r_i^p)^(1/p), of a window whose elements `r` makes of x; digits are kept for small p too.
template <class V, class W, class R>
TP_HD TP_INLINE V log_power_mean(const W& x, V p, R&& r) {
  const V n = splat<V>(static_cast<Lane<V>>(x.real()));
  return log1p_lanes(x.sum([&](V v) { return expm1_lanes(p * log_lanes(r(v))); }) / n) / p;
}

/// The mean over the window of t_i e^t_i - e^t_i + 1, t_i = p (log r_i - log_mean): |R| times the relative entropy of
/// the window's weights r_i^p / sum r_j^p, a sum without signs.
template <class V, class W, class R>
TP_HD TP_INLINE V power_entropy(const W& x, V p, V log_mean, R&& r) {
  const V n = splat<V>(static_cast<Lane<V>>(x.real()));
  return x.sum([&](V v) { return entropy_lanes(p * (log_lanes(r(v)) - log_mean)); }) / n;
}

}  // namespace tidepool
