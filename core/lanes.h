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
    return V{} + s;
}
template <class V>
TP_HD TP_INLINE Ints<V> splat_int(int i) {
  if constexpr (kLanes<V> == 1)
    return static_cast<Ints<V>>(i);
  else
    return Ints<V>{} + static_cast<decltype(Ints<V>{}[0] + 0)>(i);
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
template <class V>
TP_HD TP_INLINE V reduce_exp(V x, Ints<V>& bits) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it leaves the rounded integer in the low bits
  const V shifted = x * 1.44269504088896341f + kMagic;
  const V n = shifted - kMagic;
  memcpy(&bits, &shifted, sizeof bits);
  return (x - n * 0.693359375f) - n * -2.12194440e-4f;
}
/// p in e^r = 1 + r + p r^2, a minimax polynomial.
template <class V>
TP_HD TP_INLINE V exp_tail(V r) {
  V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  return p * r + 5.0000001201e-1f;
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

/// The least argument of weight_lanes.
template <class T>
inline constexpr T kLeastWeight = sizeof(T) == 4 ? T(-87) : T(-700);
/// exp(x) for kLeastWeight <= x <= 0, where its exponent needs no care, as near as exp_lanes. NaN for NaN.
template <class V>
TP_HD TP_INLINE V weight_lanes(V x) {
  if constexpr (std::is_same_v<Lane<V>, double>) {
    return exp_lanes(x);
  } else {
    Ints<V> k, bits;
    const V r = detail::reduce_exp(x, k), e = (detail::exp_tail(r) * r + 1.0f) * r + 1.0f;
    memcpy(&bits, &e, sizeof bits);
    bits = bits + (k << 23);  // e 2^k, a normal number; kMagicBits has no low bits
    V v;
    memcpy(&v, &bits, sizeof v);
    return v;
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

/// log in the lanes' precision. f32: Cephes' polynomial, within 2 ulp; -infinity for 0, NaN below, infinity and NaN for
/// themselves. f64: the C library's, as exp_lanes.
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
    Ints<V> bits;
    memcpy(&bits, &safe, sizeof bits);
    const Ints<V> e = (bits - 0x3f3504f3) >> 23;  // safe = m 2^e, sqrt(1/2) <= m < sqrt(2)
    bits = bits - (e << 23);
    V m;
    memcpy(&m, &bits, sizeof m);
    const V k = from_int<V>(e) - (denormal ? splat<V>(23.0f) : none), f = m - 1.0f, z = f * f;
    V p = f * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    const V tail = p * f * z - k * 2.12194440e-4f - z * 0.5f;
    const V log = (f + tail) + k * 0.693359375f;
    return fits ? log : (x == none ? -most : (x > none ? x : splat<V>(NAN)));
  }
}

/// log(1 + x) without the loss of digits near 0, x > -1 (f32: within 2 ulp).
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
    return log_lanes(w) + (x - (w - 1.0f)) / w;  // what the rounding of 1 + x lost, to first order
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

template <class V>
TP_HD TP_INLINE V abs_lanes(V x) {
  return x < splat<V>(0) ? -x : x;
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
