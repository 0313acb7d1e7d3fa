#include "core/multiply_adds.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "core/lanes.h"
#include "core/parallel.h"

namespace tidepool {

double multiply_add_rate(int repeats) {
  using V = detail::WideOf<float>::type;
  constexpr int kSums = 12;  // independent ones: enough to hide the latency of an addition
  constexpr int64_t kSteps = 2'000'000;
  const int64_t threads = cpu_threads();
  std::vector<float> kept(static_cast<size_t>(threads));
  double best = 0;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const auto begin = std::chrono::steady_clock::now();
    parallel_chunks(threads, 1, [&](int64_t thread, int64_t) {
      V sums[kSums];
      for (int i = 0; i < kSums; ++i) sums[i] = splat<V>(static_cast<float>(i));
      const V factor = splat<V>(0.999f), term = splat<V>(1e-3f);
      for (int64_t step = 0; step < kSteps; ++step)
#pragma GCC unroll 12
        for (int i = 0; i < kSums; ++i) sums[i] = sums[i] * factor + term;
      V all{};
      for (int i = 0; i < kSums; ++i) all += sums[i];
      kept[static_cast<size_t>(thread)] = all[0];  // so that nothing above is left out
    });
    const double done = static_cast<double>(threads * kSteps * kSums * kLanes<V>);
    best = std::max(best, done / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  volatile float seen = kept[0];
  static_cast<void>(seen);
  return best;
}

}  // namespace tidepool
