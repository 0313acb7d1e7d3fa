// How kernels are launched: all of them through one function, on the compute stream. A kernel's source is compiled by
// nvcc for a GPU, and by the C++ compiler (TP_SIMULATED_CUDA, with the declarations of the simulated device included
// before) for tests; the linker takes the one or the other.
#pragma once
#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif
#include <algorithm>
#include <cstdint>

#include "core/cuda/stream.h"
#include "core/host_device.h"

/// An array that the threads of a block share.
#if defined(TP_SIMULATED_CUDA)
#define TP_SHARED(T, name, count)    \
  static const char name##_name = 0; \
  T* const name = ::simulated::shared<T>(count, &name##_name)
#else
#define TP_SHARED(T, name, count) __shared__ T name[count]
#endif

/// An argument of a kernel whose address may be taken: without it the argument would be copied into each thread's
/// memory.
#if defined(__CUDACC__)
#define TP_GRID_CONSTANT __grid_constant__
#else
#define TP_GRID_CONSTANT
#endif

namespace tidepool::cuda {

/// Throws Failure where a count does not fit the 32-bit indices of kernels.
uint32_t narrow(int64_t count, const char* file = __builtin_FILE(), int line = __builtin_LINE());

/// Blocks and their threads, and the place of the launch for errors.
struct Grid {
  dim3 blocks, threads;
  const char* file;
  int line;

  Grid(dim3 blocks_, dim3 threads_, const char* file_ = __builtin_FILE(), int line_ = __builtin_LINE())
      : blocks(blocks_), threads(threads_), file(file_), line(line_) {}
  /// A thread per item.
  static Grid over(int64_t items, unsigned threads = 256, const char* file = __builtin_FILE(),
                   int line = __builtin_LINE()) {
    return {dim3(narrow((items + threads - 1) / threads, file, line)), dim3(threads), file, line};
  }
};

#if defined(TP_DEVICE_PASS)
/// Puts a kernel into the compute stream. Nothing is launched for a grid without blocks. Throws Failure naming the
/// place, grid and layer.
template <class... P, class... A>
void launch(void (*kernel)(P...), const Grid& grid, const A&... arguments) {
  if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;
#if defined(TP_SIMULATED_CUDA)
  const cudaError_t status =
      ::simulated::launch(kernel, grid.blocks, grid.threads, compute_stream(), static_cast<P>(arguments)...);
#else
  cudaLaunchConfig_t config{};
  config.gridDim = grid.blocks;
  config.blockDim = grid.threads;
  config.stream = compute_stream();
  const cudaError_t status = cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...);
#endif
  check_launch(status, grid.blocks, grid.threads, grid.file, grid.line);
}
#endif

}  // namespace tidepool::cuda
