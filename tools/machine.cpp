#include "tools/machine.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <vector>

#include "core/lanes.h"
#include "core/parallel.h"
#include "layers/pool/prepared.h"
#include "tools/timing.h"

namespace tidepool {

double copy_bandwidth(const Dims& shape, DType dtype, int64_t repeats) {
  const Tensor from = made_up_map(shape, {.dtype = dtype}), to = Tensor::empty(shape, {.dtype = dtype});
  const auto bytes = static_cast<int64_t>(from.storage().bytes);
  const auto* const source = static_cast<const char*>(from.raw());
  auto* const target = static_cast<char*>(to.mutable_raw());
  const int64_t share = std::max<int64_t>(4096, (bytes + cpu_threads() - 1) / cpu_threads());
  const double seconds = median_seconds(repeats, [&] {
    parallel_chunks(bytes, share, [&](int64_t begin, int64_t end) {
      std::memcpy(target + begin, source + begin, static_cast<size_t>(end - begin));
    });
  });
  return 2 * static_cast<double>(bytes) / seconds;
}

double multiply_add_rate(int repeats) {
  using V = detail::WideOf<float>::type;
  constexpr int kSums = 12;  // independent ones: enough to hide the latency of an addition
  constexpr int64_t kSteps = 2'000'000;
  const int64_t threads = cpu_threads();
  std::vector<float> kept(static_cast<size_t>(threads));
  double best = 0;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const auto begin = Clock::now();
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
    best = std::max(best, done / seconds_between(begin, Clock::now()));
  }
  volatile float seen = kept[0];
  static_cast<void>(seen);
  return best;
}

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

int64_t largest_resident_bytes() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return int64_t{use.ru_maxrss} * 1024;  // Linux counts in KiB
}

}  // namespace tidepool
