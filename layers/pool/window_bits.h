// The first of the largest elements of 2x2 windows of bf16 on channels-last memory, and its gradient: nothing is
// computed, so elements stay the 16 bits that they are, twice as many in a vector as of f32. What a vector does not
// serve (the last channels; NaN, forward) is the plain kernel's.
#pragma once
#if !defined(TP_DEVICE_PASS)
#include <cstdint>
#include <cstring>

#if defined(__AVX512BW__)
#include <immintrin.h>
#endif

#include "core/lanes.h"
#include "layers/pool/window_walk.h"

namespace tidepool::window {

inline constexpr int64_t kBits = tidepool::detail::kWideBytes / 2;  ///< lanes of both
using Bits = tidepool::detail::VectorOf<int16_t, kBits>::type;
using Bytes = tidepool::detail::VectorOf<uint8_t, kBits>::type;

TP_INLINE Bits load_bits(const bf16* p) {
  Bits b;
  memcpy(&b, p, sizeof b);
  return b;
}
TP_INLINE void store_bits(bf16* p, Bits b) {
  memcpy(static_cast<void*>(p), &b, sizeof b);
}
TP_INLINE Bits splat_bits(int v) {
  return Bits{} + static_cast<int16_t>(v);
}
/// Integers that are ordered as the numbers are; 0 and -0 are equal, NaN are beyond both infinities.
TP_INLINE Bits ordered(Bits b) {
  const Bits sign = b >> 15;
  return ((b & 0x7fff) ^ sign) - sign;
}

/// Calls each(corners of a window, offset of its output) for each vector of windows in rows [begin, end) of a plain
/// kernel, which does the last channels, and the vectors for which `each` says false.
template <class Plain, class Each>
TP_INLINE void walk_bits(const Plain& plain, int64_t begin, int64_t end, const Each& each) {
  const WindowGeometry g = plain.g;
  const WindowAxis &ad = g.axis[0], &ah = g.axis[1], &aw = g.axis[2];
  const int64_t inner = g.map.inner, whole = inner / kBits * kBits, down = aw.n * inner;
  for (RowPosition at(g, begin); at.row < end; at.next(g)) {
    const int64_t first = ((at.outer * ad.n + ad.start(at.d)) * ah.n + ah.start(at.h)) * aw.n * inner;
    for (int64_t w = 0; w < aw.m; ++w) {
      const int64_t in = first + aw.start(w) * inner, lane = w * inner;
      for (int64_t c = 0; c < whole; c += kBits) {
        const int64_t corner = in + c, corners[4] = {corner, corner + inner, corner + down, corner + down + inner};
        if (!each(corners, at.row * aw.m * inner + lane + c)) plain(at.row, lane + c, kBits);
      }
      if (whole < inner) plain(at.row, lane + whole, inner - whole);
    }
  }
}

/// A Forward of bf16, 2x2 and channels-last, whose y is the first of the largest.
template <class Plain>
struct LargestBits {
  Plain plain;

  void operator()(int64_t row, int64_t lane, int64_t count) const { plain(row, lane, count); }
  void rows(int64_t begin, int64_t end, int64_t /*lanes*/) const {
    const bf16* const x = plain.x;
    bf16* const y = plain.y;
    uint8_t* const winners = plain.winners;
    walk_bits(plain, begin, end, [&](const int64_t(&corners)[4], int64_t out) {
      Bits best = load_bits(x + corners[0]), most = ordered(best), least = most, winner{};
      TP_UNROLL
      for (int i = 1; i < 4; ++i) {
        const Bits v = load_bits(x + corners[i]), key = ordered(v);
        const auto wins = key > most;
        best = wins ? v : best;
        winner = wins ? splat_bits(i) : winner;
        most = wins ? key : most;
        least = key < least ? key : least;
      }
      const Bits infinity = splat_bits(0x7f80);
      if (any((most > infinity) | (least < -infinity))) return false;
      if (y) store_bits(y + out, best);
      if (winners) {
        const Bytes narrow = __builtin_convertvector(winner, Bytes);
        memcpy(winners + out, &narrow, sizeof narrow);
      }
      return true;
    });
  }

 private:
  TP_INLINE static bool any(Bits mask) {
#if defined(__AVX512BW__)
    return _mm512_movepi16_mask(reinterpret_cast<__m512i>(mask)) != 0;
#else
    int64_t words[sizeof(Bits) / 8], some = 0;
    memcpy(words, &mask, sizeof words);
    for (const int64_t word : words) some |= word;
    return some != 0;
#endif
  }
};

/// A DisjointBackward of bf16, 2x2 and channels-last, that gives dy to the winner.
template <class Plain>
struct WinnersBits {
  Plain plain;

  void operator()(int64_t row, int64_t lane, int64_t count) const { plain(row, lane, count); }
  void rows(int64_t begin, int64_t end, int64_t /*lanes*/) const {
    const bf16* const dy = plain.dy;
    bf16* const dx = plain.dx;
    const uint8_t* const winners = plain.winners;
    walk_bits(plain, begin, end, [&](const int64_t(&corners)[4], int64_t out) {
      Bytes narrow;
      memcpy(&narrow, winners + out, sizeof narrow);
      const Bits winner = __builtin_convertvector(narrow, Bits), gradient = load_bits(dy + out);
      TP_UNROLL
      for (int i = 0; i < 4; ++i) store_bits(dx + corners[i], winner == splat_bits(i) ? gradient : Bits{});
      return true;
    });
  }
};

}  // namespace tidepool::window
#endif
