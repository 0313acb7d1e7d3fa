// Sums of many terms. f32 loses a digit for every tenfold of terms, so runs of them are summed in the lanes' precision
// and the runs in f64; up to a run nothing changes.
#pragma once
#include <cstdint>

#include "core/lanes.h"

// TP_COLD: rarely called. TP_NOINLINE: not inlined, so that the caller's loops are compiled as they would be without
// it.
#if defined(__CUDACC__)
#define TP_COLD __noinline__
#define TP_NOINLINE __noinline__
#else
#define TP_COLD __attribute__((noinline, cold))
#define TP_NOINLINE __attribute__((noinline))
#endif

namespace tidepool {

inline constexpr int32_t kSumRun = 64;  ///< terms summed in the lanes' precision

template <class V>
class LongSum {
 public:
  /// Adds v, itself a sum of `terms` terms.
  TP_HD TP_INLINE void add(V v, int32_t terms = 1) {
    part_ = part_ + v;
    if ((since_ += terms) >= kSumRun) join();
  }
  TP_HD TP_INLINE V total() const { return joined_ ? narrow<V>(whole_ + widen(part_)) : part_; }

 private:
  TP_HD TP_INLINE void join() {
    whole_ = whole_ + widen(part_);
    part_ = splat<V>(0);
    since_ = 0;
    joined_ = true;
  }
  V part_ = splat<V>(0);
  Doubles<V> whole_{};
  int32_t since_ = 0;
  bool joined_ = false;
};

/// The number at p in f64.
template <class T>
TP_HD TP_INLINE double load_exact(const T* p) {
  return static_cast<double>(static_cast<Acc<T>>(*p));
}

/// The same of terms that are few.
template <class V>
class ShortSum {
 public:
  TP_HD TP_INLINE void add(V v) { sum_ = sum_ + v; }
  TP_HD TP_INLINE V total() const { return sum_; }

 private:
  V sum_ = splat<V>(0);
};

/// Whether no lane is infinite or NaN.
template <class V>
TP_HD TP_INLINE bool all_finite(V v) {
  if constexpr (kLanes<V> == 1) {
    return v - v == 0;
  } else {
#if !defined(TP_DEVICE_PASS)
#if defined(__AVX512DQ__)
    if constexpr (sizeof(V) == 64 && sizeof(Lane<V>) == 4) {
      constexpr int kNotFinite = 0x99;  // quiet and signalling NaN, both infinities
      return _mm512_fpclass_ps_mask(reinterpret_cast<const __m512&>(v), kNotFinite) == 0;
    }
#elif defined(__AVX__)
    if constexpr (sizeof(V) == 32 && sizeof(Lane<V>) == 4) {
      const V zeros = v - v;  // or NaN
      const __m256 all = reinterpret_cast<const __m256&>(zeros);
      return _mm256_movemask_ps(_mm256_cmp_ps(all, all, _CMP_UNORD_Q)) == 0;
    }
#endif
    const V none = v - v;
    bool finite = true;
    for (int l = 0; l < kLanes<V>; ++l) finite = finite & (none[l] == 0);
    return finite;
#endif
  }
}

/// Notes in a kernel of any threads that a number was not finite. On the CPU.
struct Stray {
  int* flag = nullptr;

  template <class V>
  TP_HD TP_INLINE void see(V v) const {
#if !defined(TP_DEVICE_PASS)
    if (!all_finite(v) && flag) __atomic_store_n(flag, 1, __ATOMIC_RELAXED);
#endif
  }
};

template <class V>
TP_HD TP_INLINE Lane<V> get_lane(const V& v, int l) {
  if constexpr (std::is_arithmetic_v<V>)
    return v;
  else
    return v[l];
}
/// Of numbers, or of their integers.
template <class V, class S>
TP_HD TP_INLINE void set_lane(V& v, int l, S s) {
  if constexpr (std::is_arithmetic_v<V>)
    v = static_cast<V>(s);
  else
    v[l] = static_cast<std::remove_cvref_t<decltype(v[l])>>(s);
}

}  // namespace tidepool
