// A square of vectors, turned over in registers.
#pragma once
#include "core/lanes.h"

namespace tidepool {

/// Transposes L x L lanes, rows[0 .. L), by perfect shuffles: each of log2(L) rounds interleaves row i with row
/// i + L / 2.
template <class V>
TP_INLINE void transpose(V* rows) {
  constexpr int n = kLanes<V>;
  V b[n];
  for (int width = 1; width < n; width *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; ++i) {
      b[2 * i] = zip_low(rows[i], rows[i + n / 2]);
      b[2 * i + 1] = zip_high(rows[i], rows[i + n / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) rows[i] = b[i];
  }
}

}  // namespace tidepool
