#include "tools/machine.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

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
