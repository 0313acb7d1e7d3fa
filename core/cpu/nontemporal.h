// Non-temporal stores, for outputs larger than the caches: their lines are not read before they are written.
#pragma once
#include <cstdint>
#include <type_traits>

#include "core/lanes.h"

#if defined(__SSE2__) && !defined(TP_DEVICE_PASS)
#include <immintrin.h>
#endif

namespace tidepool {

/// Results of this many bytes and more are stored non-temporally.
inline constexpr int64_t kStreamFrom = int64_t{12} << 20;

/// Whether that serves `count` elements from p on that are stored as vectors V, in rows of `row` elements. Vectors that
/// are stored as bf16 fill half a line, which no core joins with the other half that is stored later: plain stores of
/// lines that were brought nearer are 5 to 8% faster (a whole convolution, Zen 4).
template <class V, class T>
bool streams(const T* p, int64_t count, int64_t row) {
  return std::is_same_v<T, Lane<V>> && count * static_cast<int64_t>(sizeof(T)) >= kStreamFrom && row % kLanes<V> == 0 &&
         reinterpret_cast<uintptr_t>(p) % sizeof(V) == 0;
}

/// Stores v non-temporally when kStream, and where there is an instruction for it.
template <bool kStream, class V, class T>
TP_INLINE void put(T* p, V v) {
#if defined(__AVX512F__)
  if constexpr (kStream && std::is_same_v<T, float> && kLanes<V> == 16)
    return _mm512_stream_ps(p, reinterpret_cast<const __m512&>(v));
#endif
#if defined(__AVX__)
  if constexpr (kStream && std::is_same_v<T, float> && kLanes<V> == 8)
    return _mm256_stream_ps(p, reinterpret_cast<const __m256&>(v));
#endif
  store(p, v);
}

/// After the last such store of a thread, before others read.
inline void finish_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace tidepool
