// Lanes: arithmetic on a run of neighbouring elements. A kernel is written once for a type V that is either a scalar or
// a 64-byte vector of f32 or f64 (the compiler's vector types; narrower machines split them), with + - * / < and ?:
// meaning the same on both. The GPU and the tail of a row use the scalar, with the same functions, so results do not
// depend on where in a row an element stands.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/dtype.h"
#include "core/host_device.h"

#if defined(__AVX512BF16__) && defined(__AVX512DQ__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

namespace tidepool {

namespace detail {
template <class V>
struct LaneTraits {
  using Scalar = V;
  static constexpr int kCount = 1;
};
#if !defined(__CUDACC__)
template <class T, int n>
struct VectorOf {
  typedef T type __attribute__((vector_size(sizeof(T) * n)));
};
template <class T>
using WideOf = VectorOf<T, 64 / static_cast<int>(sizeof(T))>;
template <>
struct LaneTraits<VectorOf<float, 4>::type> {
  using Scalar = float;
  static constexpr int kCount = 4;
};
template <>
struct LaneTraits<VectorOf<float, 8>::type> {
  using Scalar = float;
  static constexpr int kCount = 8;
};
template <>
struct LaneTraits<VectorOf<float, 16>::type> {
  using Scalar = float;
  static constexpr int kCount = 16;
};
template <>
struct LaneTraits<VectorOf<double, 8>::type> {
  using Scalar = double;
  static constexpr int kCount = 8;
};
#endif
template <class V>
struct IntOf;
template <>
struct IntOf<float> {
  using type = int32_t;
};
template <>
struct IntOf<double> {
  using type = int64_t;
};
#if !defined(__CUDACC__)
template <>
struct IntOf<VectorOf<float, 4>::type> {
  using type = VectorOf<int32_t, 4>::type;
};
template <>
struct IntOf<VectorOf<float, 8>::type> {
  using type = VectorOf<int32_t, 8>::type;
};
template <>
struct IntOf<VectorOf<float, 16>::type> {
  using type = VectorOf<int32_t, 16>::type;
};
template <>
struct IntOf<VectorOf<double, 8>::type> {
  using type = VectorOf<int64_t, 8>::type;
};
#endif
}  // namespace detail

/// f32 or f64: what one lane of V is.
template <class V>
using Lane = typename detail::LaneTraits<V>::Scalar;
template <class V>
inline constexpr int kLanes = detail::LaneTraits<V>::kCount;
/// Integers of the lanes' width; also what a comparison of V can be assigned to through ?:.
template <class V>
using Ints = typename detail::IntOf<V>::type;

#if !defined(__CUDACC__)
namespace detail {
template <class V>
struct DoublesOf {
  using type = typename VectorOf<double, kLanes<V>>::type;
};
template <>
struct DoublesOf<float> {
  using type = double;
};
template <>
struct DoublesOf<double> {
  using type = double;
};
}  // namespace detail
/// f64 in as many lanes as V has.
template <class V>
using Doubles = typename detail::DoublesOf<V>::type;
#else
template <class V>
using Doubles = double;
#endif

/// The same scalar in every lane.
template <class V>
TP_HD TP_INLINE V splat(Lane<V> s) {
  if constexpr (kLanes<V> == 1)
    return s;
  else
    return s - V{};  // s + V{} would not be s where s is -0
}
template <class V>
TP_HD TP_INLINE Ints<V> splat_int(int i) {
  if constexpr (kLanes<V> == 1)
    return static_cast<Ints<V>>(i);
  else
    return Ints<V>{} + static_cast<decltype(Ints<V>{}[0] + 0)>(i);
}

/// 0, 1, 2, ...
template <class V>
TP_HD TP_INLINE V lane_numbers() {
  V v{};
  if constexpr (kLanes < V >> 1)
    for (int i = 0; i < kLanes<V>; ++i) v[i] = static_cast<Lane<V>>(i);
  return v;
}

/// kLanes<V> neighbours from memory of any alignment, widened to V.
template <class V, class T>
TP_HD TP_INLINE V load(const T* p) {
  if constexpr (kLanes<V> == 1) {
    return static_cast<V>(*p);
  } else if constexpr (std::is_same_v<T, Lane<V>>) {
    V v;
    memcpy(&v, p, sizeof v);
    return v;
  } else if constexpr (std::is_same_v<T, bf16>) {
#if !defined(__CUDACC__)
    using Half = typename detail::VectorOf<uint16_t, kLanes<V>>::type;
    using Word = typename detail::VectorOf<uint32_t, kLanes<V>>::type;
    Half h;
    memcpy(&h, p, sizeof h);
    const Word w = __builtin_convertvector(h, Word) << 16;
    V v;
    memcpy(&v, &w, sizeof v);
    return v;
#endif
  } else if constexpr (std::is_same_v<T, double>) {
#if !defined(__CUDACC__)
    Doubles<V> d;
    memcpy(&d, p, sizeof d);
    return __builtin_convertvector(d, V);
#endif
  } else {
    V v;
    for (int i = 0; i < kLanes<V>; ++i) v[i] = static_cast<Lane<V>>(p[i]);
    return v;
  }
}

/// Rounds once when T is bf16.
template <class V, class T>
TP_HD TP_INLINE void store(T* p, V v) {
  if constexpr (kLanes<V> == 1) {
    *p = static_cast<T>(v);
  } else if constexpr (std::is_same_v<T, Lane<V>>) {
    memcpy(p, &v, sizeof v);
  } else if constexpr (std::is_same_v<T, bf16>) {
#if !defined(__CUDACC__)
    using Half = typename detail::VectorOf<uint16_t, kLanes<V>>::type;
    using Word = typename detail::VectorOf<uint32_t, kLanes<V>>::type;
#if defined(__AVX512BF16__) && defined(__AVX512DQ__)
    if constexpr (kLanes<V> == 16) {
      const __m512 f = reinterpret_cast<const __m512&>(v);
      constexpr int kDenormal = 0x20;  // the instruction would make them 0
      if (_mm512_fpclass_ps_mask(f, kDenormal) == 0) {
        const __m256bh h = _mm512_cvtneps_pbh(f);
        memcpy(static_cast<void*>(p), &h, sizeof h);
        return;
      }
    }
#endif
    Word w;
    memcpy(&w, &v, sizeof w);
    const Word rounded = (w + 0x7fffu + ((w >> 16) & 1u)) >> 16;
    const Word nan = (w >> 16) | 0x40u;
    const Half h = __builtin_convertvector((w & 0x7fffffffu) > 0x7f800000u ? nan : rounded, Half);
    memcpy(static_cast<void*>(p), &h, sizeof h);
#endif
  } else {
    for (int i = 0; i < kLanes<V>; ++i) p[i] = static_cast<T>(v[i]);
  }
}

/// Integers (indices in a window) kept in memory as a narrower type.
template <class V, class T>
TP_HD TP_INLINE Ints<V> load_int(const T* p) {
  if constexpr (kLanes<V> == 1) {
    return static_cast<Ints<V>>(*p);
  } else {
#if !defined(__CUDACC__)
    using Narrow = typename detail::VectorOf<T, kLanes<V>>::type;
    Narrow n;
    memcpy(&n, p, sizeof n);
    if constexpr (sizeof(T) == 1) {  // in two steps: GCC 12 makes one that is wider of single bytes
      using Middle = typename detail::VectorOf<uint16_t, kLanes<V>>::type;
      return __builtin_convertvector(__builtin_convertvector(n, Middle), Ints<V>);
    } else {
      return __builtin_convertvector(n, Ints<V>);
    }
#endif
  }
}
template <class V, class T>
TP_HD TP_INLINE void store_int(T* p, Ints<V> v) {
  if constexpr (kLanes<V> == 1) {
    *p = static_cast<T>(v);
  } else {
#if !defined(__CUDACC__)
    using Narrow = typename detail::VectorOf<T, kLanes<V>>::type;
    const Narrow n = __builtin_convertvector(v, Narrow);
    memcpy(p, &n, sizeof n);
#endif
  }
}

/// Lanes of integers as numbers.
template <class V>
TP_HD TP_INLINE V from_int(Ints<V> v) {
  if constexpr (kLanes<V> == 1) {
    return static_cast<V>(v);
  } else {
#if !defined(__CUDACC__)
    return __builtin_convertvector(v, V);
#endif
  }
}
/// Lanes widened to f64, for a sum that needs its digits, and rounded back.
template <class V>
TP_HD TP_INLINE Doubles<V> widen(V v) {
  if constexpr (kLanes<V> == 1) {
    return static_cast<double>(v);
  } else {
#if !defined(__CUDACC__)
    return __builtin_convertvector(v, Doubles<V>);
#endif
  }
}
template <class V>
TP_HD TP_INLINE V narrow(Doubles<V> d) {
  if constexpr (kLanes<V> == 1) {
    return static_cast<V>(d);
  } else {
#if !defined(__CUDACC__)
    return __builtin_convertvector(d, V);
#endif
  }
}
/// at[0 .. kLanes<V>) += v, in f64.
template <class V>
TP_HD TP_INLINE void add_widened(double* at, V v) {
  if constexpr (kLanes<V> == 1) {
    *at += static_cast<double>(v);
  } else {
#if !defined(__CUDACC__)
    Doubles<V> d;
    memcpy(&d, at, sizeof d);
    d += widen(v);
    memcpy(at, &d, sizeof d);
#endif
  }
}

/// at[j[l] step + l] += v[l], in f64.
template <class V>
TP_HD TP_INLINE void add_lanes(double* at, Ints<V> j, int64_t step, V v) {
  for (int l = 0; l < kLanes<V>; ++l) at[j[l] * step + l] += static_cast<double>(v[l]);
}

namespace detail {
#if !defined(__CUDACC__)
template <class V, int... i>
TP_INLINE V even_lanes(V a, V b, std::integer_sequence<int, i...>) {
  // Lane l comes from place 2 l: of a while it lies there, then of b, which starts one place before a ends.
  return __builtin_shufflevector(a, b, (i < kLanes<V> / 2 ? 2 * i : 2 * i + 1)...);
}
template <bool kOdd, class V, int... i>
TP_INLINE V alternate_lanes(V a, V b, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, (2 * i + (kOdd ? 1 : 0))...);
}
template <int kFrom, class V, int... i>
TP_INLINE V moved_lanes(V a, V b, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, (i + kFrom)...);
}
template <bool kUpper, class V, int... i>
TP_INLINE V zip_lanes(V a, V b, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, (i / 2 + (i % 2) * kLanes<V> + (kUpper ? kLanes<V> / 2 : 0))...);
}
#endif
}  // namespace detail

#if !defined(__CUDACC__)
/// a[0], b[0], a[1], b[1], ...: the first half of them, and the second.
template <class V>
TP_INLINE V zip_low(V a, V b) {
  return detail::zip_lanes<false>(a, b, std::make_integer_sequence<int, kLanes<V>>{});
}
template <class V>
TP_INLINE V zip_high(V a, V b) {
  return detail::zip_lanes<true>(a, b, std::make_integer_sequence<int, kLanes<V>>{});
}
/// first, v[0], v[1], ...: the lanes but the last.
template <class V>
TP_INLINE V move_in_first(V v, Lane<V> first) {
  return detail::moved_lanes<kLanes<V> - 1>(splat<V>(first), v, std::make_integer_sequence<int, kLanes<V>>{});
}
/// v[1], v[2], ..., last.
template <class V>
TP_INLINE V move_in_last(V v, Lane<V> last) {
  return detail::moved_lanes<1>(v, splat<V>(last), std::make_integer_sequence<int, kLanes<V>>{});
}
#endif

/// Lanes `step` elements apart; reads nothing between the last lane and the next.
template <class V, class T>
TP_HD TP_INLINE V load_strided(const T* p, int64_t step) {
  if constexpr (kLanes<V> == 1) {
    return static_cast<V>(*p);
  } else {
#if !defined(__CUDACC__)
    constexpr int n = kLanes<V>;
    if (step == 1) return load<V>(p);
    if (step == 2) return detail::even_lanes(load<V>(p), load<V>(p + n - 1), std::make_integer_sequence<int, n>{});
    V v;
    for (int i = 0; i < n; ++i) v[i] = static_cast<Lane<V>>(p[i * step]);
    return v;
#endif
  }
}
template <class V, class T>
TP_HD TP_INLINE void store_strided(T* p, V v, int64_t step) {
  if constexpr (kLanes<V> == 1) {
    *p = static_cast<T>(v);
  } else {
    if (step == 1) return store(p, v);
    for (int i = 0; i < kLanes<V>; ++i) p[i * step] = static_cast<T>(v[i]);
  }
}
/// The inverse of store_pairs.
template <class V, class T>
TP_HD TP_INLINE void load_pairs(const T* p, V& a, V& b) {
  if constexpr (kLanes<V> == 1) {
    a = static_cast<V>(p[0]);
    b = static_cast<V>(p[1]);
  } else {
#if !defined(__CUDACC__)
    if constexpr (std::is_same_v<T, bf16>) {  // a pair is a word; bf16 is the upper half of an f32
      using Word = typename detail::VectorOf<uint32_t, kLanes<V>>::type;
      Word pairs;
      memcpy(&pairs, p, sizeof pairs);
      const Word first = pairs << 16, second = pairs & 0xffff0000u;
      memcpy(&a, &first, sizeof a);
      memcpy(&b, &second, sizeof b);
      return;
    }
    constexpr auto kAll = std::make_integer_sequence<int, kLanes<V>>{};
    const V low = load<V>(p), high = load<V>(p + kLanes<V>);
    a = detail::alternate_lanes<false>(low, high, kAll);
    b = detail::alternate_lanes<true>(low, high, kAll);
#endif
  }
}
/// a[0], b[0], a[1], b[1], ...
template <class V, class T>
TP_HD TP_INLINE void store_pairs(T* p, V a, V b) {
  if constexpr (kLanes<V> == 1) {
    p[0] = static_cast<T>(a);
    p[1] = static_cast<T>(b);
  } else {
#if !defined(__CUDACC__)
    store(p, zip_low(a, b));
    store(p + kLanes<V>, zip_high(a, b));
#endif
  }
}

/// The larger; a when either is NaN.
template <class V>
TP_HD TP_INLINE V max_number(V a, V b) {
  return b > a ? b : a;
}
/// The larger; NaN when either is.
template <class V>
TP_HD TP_INLINE V max_nan(V a, V b) {
  return (b > a) | (b != b) ? b : a;
}

namespace detail {
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
    if constexpr (kLanes<V> == 1) {
      return std::exp(x);
    } else {
      for (int i = 0; i < kLanes<V>; ++i) x[i] = std::exp(x[i]);
      return x;
    }
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
    if constexpr (kLanes<V> == 1) {
      return std::expm1(x);
    } else {
      for (int i = 0; i < kLanes<V>; ++i) x[i] = std::expm1(x[i]);
      return x;
    }
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
  /// exp(beta u) - 1 without the loss of digits near 0 (f32: within 3 ulp).
  TP_HD TP_INLINE V less_one(V u) const {
    if constexpr (kWide) {
      return expm1_lanes(rate_ * u);
    } else {
      V scale;
      const V e = fraction_less_one(u, scale);
      return scale * e + (scale - 1.0f);
    }
  }
  /// exp(beta u), a step from less_one of the same u.
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
    Ints<V> k;
    const V f = split(u, k);
    const Ints<V> bits = (k << 23) + 0x3f800000;
    memcpy(&scale, &bits, sizeof scale);
    V e = f * 1.5403512776e-4f + 1.3390735478e-3f;  // (2^f - 1) / f to 1.1e-8: minimax, as a share of itself
    e = e * f + 9.6182374937e-3f;
    e = e * f + 5.5503574336e-2f;
    e = e * f + 2.4022649795e-1f;
    e = e * f + 6.9314718793e-1f;
    return e * f;
  }

  V rate_, least_;
};

namespace detail {
/// e of a normal x = m 2^e, sqrt(1/2) <= m < sqrt(2), from its bits.
template <class V>
TP_HD TP_INLINE Ints<V> exponent_of(Ints<V> bits) {
  return (bits - 0x3f3504f3) >> 23;
}
/// k log 2 + log(1 + f), sqrt(1/2) <= 1 + f < sqrt(2).
template <class V>
TP_HD TP_INLINE V log_of_parts(V k, V f) {
  const V z = f * f;
  // ((log(1 + f) - f) / f^2 + 1/2) / f, so that the whole is within 5.9e-9: minimax; by Estrin, a third of Horner's
  // waiting.
  const V p01 = f * -2.5000821033e-1f + 3.3333331708e-1f, p23 = f * -1.6623357380e-1f + 2.0001226885e-1f;
  const V p45 = f * -1.3160181870e-1f + 1.4201757818e-1f, p67 = f * -7.6344992668e-2f + 1.2761578128e-1f;
  const V low = z * p23 + p01, high = z * p67 + p45, p = (z * z) * high + low;
  return k * 6.9314718056e-1f + (z * (p * f - 0.5f) + f);
}
/// log(x) - shift log 2 of a normal x > 0.
template <class V>
TP_HD TP_INLINE V log_of_normal(V x, V shift) {
  Ints<V> bits;
  memcpy(&bits, &x, sizeof bits);
  const Ints<V> e = exponent_of<V>(bits);
  bits = bits - (e << 23);
  V m;
  memcpy(&m, &bits, sizeof m);
  return log_of_parts(from_int<V>(e) - shift, m - 1.0f);
}
}  // namespace detail

/// log in the lanes' precision. f32: a minimax polynomial, within 2 ulp; -infinity for 0, NaN below, infinity and NaN
/// for themselves. f64: the C library's, as exp_lanes.
template <class V>
TP_HD TP_INLINE V log_lanes(V x) {
  if constexpr (std::is_same_v<Lane<V>, double>) {
    if constexpr (kLanes<V> == 1) {
      return std::log(x);
    } else {
      for (int i = 0; i < kLanes<V>; ++i) x[i] = std::log(x[i]);
      return x;
    }
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
    if constexpr (kLanes<V> == 1) {
      return std::log1p(x);
    } else {
      for (int i = 0; i < kLanes<V>; ++i) x[i] = std::log1p(x[i]);
      return x;
    }
  } else {
    const V w = x + 1.0f;
    Ints<V> bits;
    memcpy(&bits, &w, sizeof bits);
    const Ints<V> e = detail::exponent_of<V>(bits);
    const V scale = detail::power_of_two<V>(-e);
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

/// 1 / (1 + exp(-x)).
template <class V>
TP_HD TP_INLINE V sigmoid_lanes(V x) {
  return splat<V>(1) / (splat<V>(1) + exp_lanes(-x));
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
    if constexpr (kLanes<V> == 1) {
      return 1 / std::sqrt(x);
    } else {
      for (int i = 0; i < kLanes<V>; ++i) x[i] = 1 / std::sqrt(x[i]);
      return x;
    }
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

/// Calls body.template operator()<V>(lane) so that [first, first + count) is covered: vectors, then scalars. T is the
/// arithmetic type (f32, f64).
template <class T, class Body>
TP_HD TP_INLINE void each_lane(int64_t first, int64_t count, Body&& body) {
  int64_t lane = first;
#if !defined(__CUDACC__)
  using V = typename detail::WideOf<T>::type;
  for (; lane + kLanes<V> <= first + count; lane += kLanes<V>) body.template operator()<V>(lane);
#endif
  for (; lane < first + count; ++lane) body.template operator()<T>(lane);
}

}  // namespace tidepool
