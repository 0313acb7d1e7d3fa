// Functions of lanes: exponentials, logarithms, reciprocals, signs, of a scalar or of a vector (core/lanes.h). f32 is
// our own arithmetic, so that both give the same bits; f64, in which nobody trains, is the C library's.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/lanes.h"

namespace tidepool {

namespace detail {
/// f of each lane.
template <class V, class F>
TP_HD TP_INLINE V lane_by_lane(V x, const F& f) {
  if constexpr (kLanes<V> == 1) {
    return f(x);
  } else {
    for (int i = 0; i < kLanes<V>; ++i) x[i] = f(x[i]);
    return x;
  }
}
/// x = k log 2 + r of an f32 in [-104, 89], by Cody & Waite's reduction; `bits` - kMagicBits = k.
inline constexpr int32_t kMagicBits = 0x4B400000;
inline constexpr float kMagic = 12582912.0f;  ///< 1.5 * 2^23: adding it leaves the rounded integer in the low bits
template <class V>
TP_HD TP_INLINE V reduce_exp(V x, Ints<V>& bits) {
  const V shifted = x * 1.44269504088896341f + kMagic;
  const V n = shifted - kMagic;
  memcpy(&bits, &shifted, sizeof bits);
  return (x - n * 0.693359375f) - n * -2.12194440e-4f;
}
/// p in e^r = 1 + r + p r^2, a minimax polynomial: e^r to 3.1e-9.
template <class V>
TP_HD TP_INLINE V exp_tail(V r) {
  V p = r * 1.3814598788e-3f + 8.3687165752e-3f;
  p = p * r + 4.1668388993e-2f;
  p = p * r + 1.6666521132e-1f;
  return p * r + 4.9999994040e-1f;
}
/// exp(x) / 2^k - 1.
template <class V>
TP_HD TP_INLINE V reduced_expm1(V x, Ints<V>& k) {
  const V r = reduce_exp(x, k), p = exp_tail(r);
  k = k - kMagicBits;
  return (p * r) * r + r;
}
/// 2^k of an f32, -126 <= k <= 127.
template <class V>
TP_HD TP_INLINE V power_of_two(Ints<V> k) {
  const Ints<V> bits = (k + 127) << 23;
  V v;
  memcpy(&v, &bits, sizeof v);
  return v;
}
}  // namespace detail

/// exp in the lanes' precision. f32: Cody & Waite reduction and a minimax polynomial, within 2 ulp, 0 below -103.97,
/// infinity above 88.72, NaN for NaN. f64: the C library's, a lane at a time (it serves tests, not training).
template <class V>
TP_HD TP_INLINE V exp_lanes(V x) {
  if constexpr (std::is_same_v<Lane<V>, double>) {
    return detail::lane_by_lane(x, [](double v) { return std::exp(v); });
  } else {
    const V low = splat<V>(-104.0f), high = splat<V>(89.0f);
    const V c = x < low ? low : (x > high ? high : x);
    Ints<V> k;
    const V p = detail::reduced_expm1(c, k) + 1.0f;
    // 2^n in two factors, so that results between the smallest normal number and 0, and near infinity, come out right.
    const Ints<V> half = k >> 1;
    return p * detail::power_of_two<V>(half) * detail::power_of_two<V>(k - half);
  }
}

/// exp(x) - 1 without the loss of digits near 0, x <= 88 (f32: within 2 ulp; -1 below -87; NaN for NaN).
template <class V>
TP_HD TP_INLINE V expm1_lanes(V x) {
  if constexpr (std::is_same_v<Lane<V>, double>) {
    return detail::lane_by_lane(x, [](double v) { return std::expm1(v); });
  } else {
    const V low = splat<V>(-87.0f), high = splat<V>(88.0f);
    const V c = x < low ? low : (x > high ? high : x);
    Ints<V> k;
    const V p = detail::reduced_expm1(c, k), scale = detail::power_of_two<V>(k);
    return scale * p + (scale - 1.0f);
  }
}

/// The least exponent of a weight, whose weight is a normal number.
template <class T>
inline constexpr T kLeastWeight = sizeof(T) == 4 ? T(-87) : T(-700);
/// exp(beta u) for kLeastWeight <= beta u <= 0, of many u and one beta, 1 for u = 0, NaN for NaN: a power of 2, the
/// cheapest of all. f32: within 2 ulp and |beta u| units of 2^-23 more, which a sum of weights does not see, since it
/// falls slower than the weight does.
template <class V>
class Weights {
 public:
  TP_HD explicit Weights(Lane<V> beta) : Weights(splat<V>(beta), splat<V>(1 / beta)) {}
  /// With a beta for each lane, and its inverse.
  TP_HD TP_INLINE Weights(V beta, V inverse)
      : rate_(kWide ? beta : beta * splat<V>(Lane<V>(1.44269504088896341))),
        least_(splat<V>(kLeastWeight<Lane<V>>) * inverse) {}

  /// u, or the least whose weight is taken; NaN stays.
  TP_HD TP_INLINE V within(V u) const { return max_number(u, least_); }
  TP_HD TP_INLINE V operator()(V u) const {
    if constexpr (kWide) {
      return exp_lanes(rate_ * u);
    } else {
      Ints<V> k, bits;
      const V f = split(u, k);
      V e = f * 1.3264727313e-3f + 9.6715129912e-3f;  // 2^f to 9.2e-8, |f| <= 1/2: a minimax polynomial
      e = e * f + 5.5507335812e-2f;
      e = e * f + 2.4022242427e-1f;
      e = e * f + 6.9314700365e-1f;
      e = e * f + 1.0f;
      memcpy(&bits, &e, sizeof bits);
      bits = bits + (k << 23);
      V v;
      memcpy(&v, &bits, sizeof v);
      return v;
    }
  }
  /// exp(beta u) - 1 without the loss of digits near 0 (f32: within 6e-7 of itself).
  TP_HD TP_INLINE V less_one(V u) const {
    if constexpr (kWide) {
      return expm1_lanes(rate_ * u);
    } else {
      V scale;
      const V e = fraction_less_one(u, scale);
      return scale * e + (scale - 1.0f);
    }
  }
  /// exp(beta u), a step from less_one of the same u (f32: within 3 ulp where operator() is within 2).
  TP_HD TP_INLINE V beside_less_one(V u) const {
    if constexpr (kWide) {
      return exp_lanes(rate_ * u);
    } else {
      V scale;
      const V e = fraction_less_one(u, scale);
      return scale * e + scale;
    }
  }

 private:
  static constexpr bool kWide = std::is_same_v<Lane<V>, double>;

  /// f, and the bits of k, of the weight 2^(k + f), |f| <= 1/2.
  TP_HD TP_INLINE V split(V u, Ints<V>& k) const {
    const V shifted = u * rate_ + detail::kMagic;
    memcpy(&k, &shifted, sizeof k);  // kMagicBits has no low bits
    return u * rate_ - (shifted - detail::kMagic);
  }
  /// 2^f - 1 and 2^k.
  TP_HD TP_INLINE V fraction_less_one(V u, V& scale) const {
    constexpr float kBiased = detail::kMagic + 127.0f;  // leaves k + 127, the exponent of a number, in the low bits
    const V shifted = u * rate_ + kBiased, f = u * rate_ - (shifted - kBiased);
    Ints<V> bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = bits << 23;
    memcpy(&scale, &bits, sizeof scale);
    V e = f * 1.3333538690e-3f + 9.6662454248e-3f;  // (2^f - 1) / f to 4.4e-7: minimax, as a share of itself
    e = e * f + 5.5505002135e-2f;
    e = e * f + 2.4022351343e-1f;
    e = e * f + 6.9314714351e-1f;
    return e * f;
  }

  V rate_, least_;
};

namespace detail {
/// The bits of e in a normal x = m 2^e, sqrt(1/2) <= m < sqrt(2), where they stand in a number's: 2^23 e.
template <class V>
TP_HD TP_INLINE Ints<V> exponent_of(Ints<V> bits) {
  return (bits - 0x3f3504f3) & static_cast<int32_t>(0xff800000);
}
/// 2^-23 k log 2 + log(1 + f), sqrt(1/2) <= 1 + f < sqrt(2).
template <class V>
TP_HD TP_INLINE V log_of_parts(V k, V f) {
  const V z = f * f;
  // (log(1 + f) - f) / f^2, so that the whole is within 3.2e-8: minimax; by Estrin, a third of Horner's waiting.
  const V p01 = f * 3.3333910736e-1f - 0.5f, p23 = f * 1.9963063840e-1f - 2.5001337038e-1f;
  const V p45 = f * 1.4914767423e-1f - 1.6577584643e-1f, p67 = f * 8.7004377048e-2f - 1.4267487215e-1f;
  const V low = z * p23 + p01, high = z * p67 + p45, p = (z * z) * high + low;
  return k * (6.9314718056e-1f / 8388608) + (z * p + f);
}
/// log(x) - shift log 2 of a normal x > 0.
template <class V>
TP_HD TP_INLINE V log_of_normal(V x, V shift) {
  Ints<V> bits;
  memcpy(&bits, &x, sizeof bits);
  const Ints<V> e = exponent_of<V>(bits);
  bits = bits - e;
  V m;
  memcpy(&m, &bits, sizeof m);
  return log_of_parts(from_int<V>(e) - shift * 8388608.0f, m - 1.0f);
}
}  // namespace detail

/// log in the lanes' precision. f32: a minimax polynomial, within 2 ulp; -infinity for 0, NaN below, infinity and NaN
/// for themselves. f64: the C library's, as exp_lanes.
template <class V>
TP_HD TP_INLINE V log_lanes(V x) {
  if constexpr (std::is_same_v<Lane<V>, double>) {
    return detail::lane_by_lane(x, [](double v) { return std::log(v); });
  } else {
    const V none = splat<V>(0.0f), most = splat<V>(INFINITY);
    const auto fits = (x > none) & (x < most);
    const auto denormal = x < splat<V>(1.17549435e-38f);
    const V safe = fits ? (denormal ? x * 8388608.0f : x) : splat<V>(1.0f);
    const V log = detail::log_of_normal(safe, denormal ? splat<V>(23.0f) : none);
    return fits ? log : (x == none ? -most : (x > none ? x : splat<V>(NAN)));
  }
}

/// log(1 + x) without the loss of digits near 0, -1 < x <= 1 (f32: within 2 ulp).
template <class V>
TP_HD TP_INLINE V log1p_lanes(V x) {
  if constexpr (std::is_same_v<Lane<V>, double>) {
    return detail::lane_by_lane(x, [](double v) { return std::log1p(v); });
  } else {
    const V w = x + 1.0f;
    Ints<V> bits;
    memcpy(&bits, &w, sizeof bits);
    const Ints<V> e = detail::exponent_of<V>(bits);
    bits = 0x3f800000 - e;
    V scale;  // 1 / 2^e
    memcpy(&scale, &bits, sizeof scale);
    return detail::log_of_parts(from_int<V>(e), x * scale + (scale - 1.0f));  // (1 + x) / 2^e - 1, not rounded twice
  }
}

/// x e^x - (e^x - 1) without the loss of digits near 0, where it is x^2 / 2; 1 at -infinity. x <= 88 (f32).
template <class V>
TP_HD TP_INLINE V entropy_lanes(V x) {
  using A = Lane<V>;
  const V half = splat<V>(A(0.5)), low = splat<V>(A(-100));
  const V c = x < low ? low : x;
  const V e = expm1_lanes(c), direct = c + (c * e - e);
  // sum over k >= 2 of x^k (k - 1) / k!
  V p = splat<V>(A(12.0 / 6227020800.0));
  constexpr double kFactorials[] = {479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2};
  for (int i = 0; i < 11; ++i) p = p * c + splat<V>(A((11 - i) / kFactorials[i]));
  return (c < half) & (c > -half) ? p * c * c : direct;
}

/// 1 / (1 + exp(-x)) (f32: within 4 ulp, 0 below -88; NaN for NaN).
template <class V>
TP_HD TP_INLINE V sigmoid_lanes(V x) {
  if constexpr (std::is_same_v<Lane<V>, double>) {
    return splat<V>(1) / (splat<V>(1) + exp_lanes(-x));
  } else {
    // exp(-x) = 2^k exp(r), a cheap one: |r| <= log(2) / 2, exp(r) to 9.2e-8 by a minimax polynomial.
    Ints<V> k, bits;
    const V r = detail::reduce_exp(-max_number(min_number(x, splat<V>(87.0f)), splat<V>(-88.0f)), k);
    V e = r * 8.2903147878e-3f + 4.1897930820e-2f;
    e = e * r + 1.6667635708e-1f;
    e = e * r + 4.9999150242e-1f;
    e = e * r + 9.9999974477e-1f;
    e = e * r + 1.0f;
    memcpy(&bits, &e, sizeof bits);
    bits = bits + (k << 23);  // what kMagic has above the low bits is shifted out
    memcpy(&e, &bits, sizeof e);
    const V s = splat<V>(1) / (splat<V>(1) + e);
    return x < splat<V>(-88.0f) ? splat<V>(0) : s;
  }
}

/// 1 / x of 2^-125 <= x <= 2^125 (f32: within 2 ulp, by Newton's iteration, in a third of a division's time); NaN for
/// NaN.
template <class V>
TP_HD TP_INLINE V reciprocal_lanes(V x) {
  if constexpr (std::is_same_v<Lane<V>, double>) {
    return splat<V>(1) / x;
  } else {
    Ints<V> bits;
    memcpy(&bits, &x, sizeof bits);
    bits = 0x7ef311c3 - bits;
    V y;
    memcpy(&y, &bits, sizeof y);  // within 5.1%
    const V first = 1.0f - x * y;
    y = y + y * first;
    const V second = 1.0f - x * y;
    return y + y * (second + second * second);
  }
}

/// 1 / sqrt(x) of a normal x > 0 (f32: within 2 ulp, by Newton's iteration from a guess in the bits).
template <class V>
TP_HD TP_INLINE V rsqrt_lanes(V x) {
  if constexpr (std::is_same_v<Lane<V>, double>) {
    return detail::lane_by_lane(x, [](double v) { return 1 / std::sqrt(v); });
  } else {
    Ints<V> bits;
    memcpy(&bits, &x, sizeof bits);
    bits = 0x5f375a86 - (bits >> 1);
    V y;
    memcpy(&y, &bits, sizeof y);
    const V half = x * 0.5f;
    for (int i = 0; i < 3; ++i) y = y + y * (0.5f - half * y * y);
    return y;
  }
}

namespace detail {
template <class V>
TP_HD TP_INLINE Ints<V> magnitude_bits(V x) {
  Ints<V> bits;
  memcpy(&bits, &x, sizeof bits);
  return bits & (sizeof(Lane<V>) == 4 ? Ints<float>(0x7fffffff) : Ints<Lane<V>>(0x7fffffffffffffff));
}
}  // namespace detail
template <class V>
TP_HD TP_INLINE V abs_lanes(V x) {
  const Ints<V> bits = detail::magnitude_bits(x);
  V v;
  memcpy(&v, &bits, sizeof v);
  return v;
}
/// The larger of a >= 0 and |x|; NaN when either is.
template <class V>
TP_HD TP_INLINE V larger_magnitude(V a, V x) {
  Ints<V> bits, other = detail::magnitude_bits(x);  // ordered as the numbers are, NaN above infinity
  memcpy(&bits, &a, sizeof bits);
  bits = other > bits ? other : bits;
  V v;
  memcpy(&v, &bits, sizeof v);
  return v;
}
/// -1, 0 or 1; 0 for NaN.
template <class V>
TP_HD TP_INLINE V sign_lanes(V x) {
  const V none = splat<V>(0), one = splat<V>(1);
  return x > none ? one : (x < none ? -one : none);
}

}  // namespace tidepool
