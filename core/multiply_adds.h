// The yardstick of the convolutions' benchmarks; in core, where every level of a portable build compiles it.
#pragma once

namespace tidepool {

/// f32 multiply-adds per second on all threads, from registers: the best of `repeats`.
double multiply_add_rate(int repeats);

}  // namespace tidepool
