// What this machine can do at most, measured now: the yardsticks of the benchmarks.
#pragma once
#include "core/tensor.h"

namespace tidepool {

/// Bytes per second of a plain copy of a map on all threads, each byte read once and written once: the median of
/// `repeats`.
double copy_bandwidth(const Dims& shape, DType dtype, int64_t repeats);

/// Bytes of this process that are in memory now, and the most that ever were.
int64_t resident_bytes();
int64_t largest_resident_bytes();

}  // namespace tidepool
