// The one parallel loop, for kernels of both devices. On the CPU a thread takes a run of rows and all lanes; on the GPU
// a thread takes one lane of one row, neighbours in a warp taking neighbouring lanes.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/device.h"
#include "core/error.h"
#include "core/host_device.h"

#if defined(TP_DEVICE_PASS)
#include "core/cuda/launch.h"
#endif

namespace tidepool {
// A source that both compilers take instantiates these once in each: the linker must not take one for the other.
#if defined(TP_DEVICE_PASS)
inline namespace for_device {
#else
inline namespace by_cxx {
#endif

/// Calls f(begin, end) for chunks of `grain` items of [0, n). The chunks depend on n and grain alone, never on the
/// number of threads, so that sums kept per chunk are the same bits for any number. CPU only; f must not throw.
template <class F>
void parallel_chunks(int64_t n, int64_t grain, const F& f) {
  const int64_t chunks = (n + grain - 1) / grain;
  if (chunks == 1) return f(int64_t{0}, n);
#pragma omp parallel for schedule(static)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) f(chunk * grain, std::min(n, (chunk + 1) * grain));
}

#if defined(TP_DEVICE_PASS)
namespace detail {
template <class F>
__global__ void rows_kernel(uint32_t total, uint32_t lanes, const TP_GRID_CONSTANT F f) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < total) f(int64_t{i / lanes}, int64_t{i % lanes}, int64_t{1});
}
}  // namespace detail
#endif

/// The rows of a chunk of parallel_rows.
inline int64_t rows_per_chunk(int64_t lanes, int64_t work) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, lanes * work));
}

/// Calls f(row, first_lane, lanes) so that every lane of every row is covered once. `work` is a guess of the operations
/// a lane takes; it decides how many rows a chunk has. f is called concurrently and must not throw. On the CPU an f
/// that has `rows(begin, end, lanes)` gets whole runs of rows instead, to compute once what rows share.
template <class F>
void parallel_rows(Device device, int64_t rows, int64_t lanes, int64_t work, const F& f) {
  if (rows * lanes == 0) return;
#if defined(TP_DEVICE_PASS)
  if (device.kind == DeviceKind::cuda) {
    const int64_t total = rows * lanes;
    const uint32_t items = cuda::narrow(total), across = cuda::narrow(lanes);  // no tensor has 2^32 elements
    // Blocks of 256 threads, neighbours of which take neighbouring lanes.
    cuda::launch(detail::rows_kernel<F>, cuda::Grid::over(total), items, across, f);
    return;
  }
#else
  if (device.kind != DeviceKind::cpu) throw Failure("this loop was compiled for the CPU alone");
#endif
  parallel_chunks(rows, rows_per_chunk(lanes, work), [&](int64_t begin, int64_t end) {
    if constexpr (requires { f.rows(begin, end, lanes); })
      f.rows(begin, end, lanes);
    else
      for (int64_t row = begin; row < end; ++row) f(row, int64_t{0}, lanes);
  });
}

}  // namespace for_device, by_cxx
}  // namespace tidepool
