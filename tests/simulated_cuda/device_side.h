// What the body of a kernel sees when the C++ compiler takes it: indices, barriers, shuffles, shared memory; and the
// launch. Included before everything else of a source of kernels.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>
#include <utility>

namespace simulated {

struct Indices {
  uint3 thread, block;
  dim3 threads, blocks;
};
extern Indices indices;

/// Waits for every thread of the block; all must wait at one place.
void wait_for_block(const char* file, int line);
/// Waits for the lanes of `mask` and gives this one what lane `from` brought.
uint64_t exchange(unsigned mask, uint64_t value, int from);
/// Memory of the block, NaN at first; `name` stands for the variable.
void* shared_bytes(size_t bytes, const void* name);
template <class T>
T* shared(size_t count, const void* name) {
  return static_cast<T*>(shared_bytes(count * sizeof(T), name));
}

/// Throws std::logic_error when it points into the host's memory, where no kernel could follow it.
void check_pointer(const void* pointer);
/// Counts the words that look so; one that is padding may.
void count_suspicious(const void* words, size_t count);
template <class T>
void check_argument(T argument) {
  if constexpr (std::is_pointer_v<T>) check_pointer(argument);
  if constexpr (std::is_class_v<T>) {
    __builtin_clear_padding(&argument);
    count_suspicious(&argument, sizeof argument / 8);
  }
}

cudaError_t enqueue_kernel(dim3 grid, dim3 block, cudaStream_t stream, std::function<void()> body);
template <class... P>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream,
                   std::type_identity_t<P>... arguments) {
  (check_argument(arguments), ...);
  return enqueue_kernel(grid, block, stream, [kernel, arguments...] { kernel(arguments...); });
}

template <class T>
uint64_t bits_of(T value) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T value_of(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace simulated

#define threadIdx (::simulated::indices.thread)
#define blockIdx (::simulated::indices.block)
#define blockDim (::simulated::indices.threads)
#define gridDim (::simulated::indices.blocks)

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  simulated::wait_for_block(file, line);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  return simulated::value_of<T>(
      simulated::exchange(mask, simulated::bits_of(value), lane / width * width + from % width));
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = static_cast<int>(threadIdx.x % 32), from = lane + static_cast<int>(delta);
  return simulated::value_of<T>(
      simulated::exchange(mask, simulated::bits_of(value), from / width == lane / width ? from : lane));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const int lane = static_cast<int>(threadIdx.x % 32), from = lane ^ bits;
  return simulated::value_of<T>(
      simulated::exchange(mask, simulated::bits_of(value), from / width == lane / width ? from : lane));
}
