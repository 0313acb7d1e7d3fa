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
    return __builtin_convertvector(n, Ints<V>);
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
    store(p, detail::zip_lanes<false>(a, b, std::make_integer_sequence<int, kLanes<V>>{}));
    store(p + kLanes<V>, detail::zip_lanes<true>(a, b, std::make_integer_sequence<int, kLanes<V>>{}));
#endif
  }
}

/// The larger; NaN when either is.
template <class V>
TP_HD TP_INLINE V max_nan(V a, V b) {
  return (b > a) | (b != b) ? b : a;
}

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
    constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it leaves the rounded integer in the low bits
    const V shifted = c * 1.44269504088896341f + kMagic;
    const V n = shifted - kMagic;
    const V r = (c - n * 0.693359375f) - n * -2.12194440e-4f;
    V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (p * r) * r + r + 1.0f;
    // 2^n in two factors, so that results between the smallest normal number and 0, and near infinity, come out right.
    Ints<V> k;
    memcpy(&k, &shifted, sizeof k);
    k = k - 0x4B400000;
    const Ints<V> half = k >> 1;
    const Ints<V> a = (half + 127) << 23, b = (k - half + 127) << 23;
    V fa, fb;
    memcpy(&fa, &a, sizeof fa);
    memcpy(&fb, &b, sizeof fb);
    return p * fa * fb;
  }
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
