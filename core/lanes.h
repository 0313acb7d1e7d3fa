// Lanes: arithmetic on a run of neighbouring elements. A kernel is written once for a type V that is either a scalar or
// a vector of f32 or f64 as wide as the machine's registers (the compiler's vector types), with + - * / < and ?:
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

#if defined(__AVX__) && !defined(TP_DEVICE_PASS)
#include <immintrin.h>
#endif

namespace tidepool {

namespace detail {
template <class V>
struct LaneTraits {
  using Scalar = V;
  static constexpr int kCount = 1;
};
#if !defined(TP_DEVICE_PASS)
template <class T, int n>
struct VectorOf {
  typedef T type __attribute__((vector_size(sizeof(T) * n)));
};
/// Bytes of a vector. Vectors wider than the registers would be split by the compiler, and spill: on AVX2 a norm of 64
/// bytes takes five times as long as one of 32.
#if defined(__AVX512F__)
inline constexpr int kWideBytes = 64;
#else
inline constexpr int kWideBytes = 32;
#endif
template <class T>
using WideOf = VectorOf<T, kWideBytes / static_cast<int>(sizeof(T))>;
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
struct LaneTraits<VectorOf<double, 4>::type> {
  using Scalar = double;
  static constexpr int kCount = 4;
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
#if !defined(TP_DEVICE_PASS)
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
struct IntOf<VectorOf<double, 4>::type> {
  using type = VectorOf<int64_t, 4>::type;
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

#if !defined(TP_DEVICE_PASS)
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

#if !defined(TP_DEVICE_PASS)
namespace detail {
template <class V, class T>
struct StoredOf {
  using type = V;
};
template <class V>
struct StoredOf<V, bf16> {
  using type = typename VectorOf<uint16_t, kLanes<V>>::type;
};
}  // namespace detail
/// A vector V of f32 as T (f32 or bf16) keeps it in memory, in a register.
template <class V, class T>
using Stored = typename detail::StoredOf<V, T>::type;

template <class V, class T>
TP_INLINE V widened(Stored<V, T> s) {
  if constexpr (std::is_same_v<T, bf16>) {
#if defined(__AVX512BW__)
    if constexpr (kLanes<V> == 16) {  // one instruction where GCC has two
      const __m512i positions = _mm512_set_epi16(15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8, 8,  //
                                                 7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
      constexpr __mmask32 kUpperHalves = 0xaaaaaaaau;
      const __m512i h = _mm512_castsi256_si512(reinterpret_cast<__m256i>(s));
      return reinterpret_cast<V>(_mm512_maskz_permutexvar_epi16(kUpperHalves, positions, h));
    }
#endif
    using Word = typename detail::VectorOf<uint32_t, kLanes<V>>::type;
    return reinterpret_cast<V>(__builtin_convertvector(s, Word) << 16);
  } else {
    return s;
  }
}

/// Rounds once when T is bf16. kFlushed: no lane is a denormal number, which spares a look.
template <class T, bool kFlushed = false, class V>
TP_INLINE Stored<V, T> rounded(V v) {
  if constexpr (std::is_same_v<T, bf16>) {
    using Half = Stored<V, bf16>;
    using Word = typename detail::VectorOf<uint32_t, kLanes<V>>::type;
#if defined(__AVX512BF16__) && defined(__AVX512DQ__)
    if constexpr (kLanes<V> == 16) {
      const __m512 f = reinterpret_cast<__m512>(v);
      constexpr int kDenormal = 0x20;  // the instruction would make them 0
      if (kFlushed || _mm512_fpclass_ps_mask(f, kDenormal) == 0) return reinterpret_cast<Half>(_mm512_cvtneps_pbh(f));
    }
#endif
    const Word w = reinterpret_cast<Word>(v);
    const Word result = (w + 0x7fffu + ((w >> 16) & 1u)) >> 16, nan = (w >> 16) | 0x40u;
    return __builtin_convertvector((w & 0x7fffffffu) > 0x7f800000u ? nan : result, Half);
  } else {
    return v;
  }
}
#endif

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
#if !defined(TP_DEVICE_PASS)
    Stored<V, bf16> h;
    memcpy(&h, p, sizeof h);
    return widened<V, bf16>(h);
#endif
  } else if constexpr (std::is_same_v<T, double>) {
#if !defined(TP_DEVICE_PASS)
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
#if !defined(TP_DEVICE_PASS)
    const Stored<V, bf16> h = rounded<bf16>(v);
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
#if !defined(TP_DEVICE_PASS)
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
#if !defined(TP_DEVICE_PASS)
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
#if !defined(TP_DEVICE_PASS)
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
#if !defined(TP_DEVICE_PASS)
    return __builtin_convertvector(v, Doubles<V>);
#endif
  }
}
template <class V>
TP_HD TP_INLINE V narrow(Doubles<V> d) {
  if constexpr (kLanes<V> == 1) {
    return static_cast<V>(d);
  } else {
#if !defined(TP_DEVICE_PASS)
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
#if !defined(TP_DEVICE_PASS)
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
#if !defined(TP_DEVICE_PASS)
template <class V, int... i>
TP_INLINE V even_lanes(V a, V b, std::integer_sequence<int, i...>) {
  // Lane l comes from position 2 l: of a while it lies there, then of b, which starts one position before a ends.
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

#if !defined(TP_DEVICE_PASS)
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
#if !defined(TP_DEVICE_PASS)
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
#if !defined(TP_DEVICE_PASS)
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
#if !defined(TP_DEVICE_PASS)
    store(p, zip_low(a, b));
    store(p + kLanes<V>, zip_high(a, b));
#endif
  }
}

/// The larger; a when either is NaN.
template <class V>
TP_HD TP_INLINE V max_number(V a, V b) {
#if defined(__AVX512F__) && !defined(TP_DEVICE_PASS)
  if constexpr (std::is_same_v<Lane<V>, float> && kLanes<V> == 16)  // GCC 12 makes a comparison and a choice
    return reinterpret_cast<V>(
        _mm512_maskz_max_ps(0xffff, reinterpret_cast<const __m512&>(b), reinterpret_cast<const __m512&>(a)));
#endif
  return b > a ? b : a;
}
/// The smaller; a when either is NaN.
template <class V>
TP_HD TP_INLINE V min_number(V a, V b) {
#if defined(__AVX512F__) && !defined(TP_DEVICE_PASS)
  if constexpr (std::is_same_v<Lane<V>, float> && kLanes<V> == 16)
    return reinterpret_cast<V>(
        _mm512_maskz_min_ps(0xffff, reinterpret_cast<const __m512&>(b), reinterpret_cast<const __m512&>(a)));
#endif
  return b < a ? b : a;
}
/// The larger; NaN when either is.
template <class V>
TP_HD TP_INLINE V max_nan(V a, V b) {
  return (b > a) | (b != b) ? b : a;
}

/// a and b in order. Both stay: where one is NaN, so is one of the results.
template <class V>
TP_HD TP_INLINE void sort_lanes(V a, V b, V& low, V& high) {
#if defined(__AVX512F__) && !defined(TP_DEVICE_PASS)
  if constexpr (std::is_same_v<Lane<V>, float> && kLanes<V> == 16) {  // GCC 12 makes one comparison and two choices
    constexpr __mmask16 kAll = 0xffff;
    const __m512 first = reinterpret_cast<const __m512&>(a), second = reinterpret_cast<const __m512&>(b);
    reinterpret_cast<__m512&>(low) = _mm512_maskz_min_ps(kAll, first, second);
    reinterpret_cast<__m512&>(high) = _mm512_maskz_max_ps(kAll, second, first);
    return;
  }
#endif
  low = a < b ? a : b;
  high = b > a ? b : a;
}

/// Calls body.template operator()<V>(lane) so that [first, first + count) is covered: vectors, then scalars. T is the
/// arithmetic type (f32, f64).
template <class T, class Body>
TP_HD TP_INLINE void each_lane(int64_t first, int64_t count, Body&& body) {
  int64_t lane = first;
#if !defined(TP_DEVICE_PASS)
  using V = typename detail::WideOf<T>::type;
  for (; lane + kLanes<V> <= first + count; lane += kLanes<V>) body.template operator()<V>(lane);
#endif
  for (; lane < first + count; ++lane) body.template operator()<T>(lane);
}

}  // namespace tidepool
