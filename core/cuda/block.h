// What kernels are made of: loads and stores of 16 bytes, loops over a grid, sums over a block in a fixed order. For
// sources of kernels alone.
#pragma once
#include "core/cuda/launch.h"
#include "core/dtype.h"

namespace tidepool::cuda {

/// Neighbouring elements that one thread loads and stores at once: 16 bytes where the number of elements allows.
template <class T, int n>
struct alignas(sizeof(T) * n) Pack {
  T v[n];
};
template <class T>
inline constexpr int kPack = 16 / static_cast<int>(sizeof(T));

template <class T>
TP_HD TP_INLINE Acc<T> value_of(T v) {
  return static_cast<Acc<T>>(v);
}
template <class T, class A>
TP_HD TP_INLINE T rounded(A v) {
  return static_cast<T>(static_cast<Acc<T>>(v));
}

/// Calls f(a constant n) with the most elements a thread can take at once of arrays whose lengths, and the distances of
/// whose starts, are multiples of `count`: kPack<T> or 1.
template <class T, class F>
void dispatch_pack(int64_t count, const F& f) {
  if (count % kPack<T> == 0)
    f(std::integral_constant<int, kPack<T>>{});
  else
    f(std::integral_constant<int, 1>{});
}

#if defined(TP_DEVICE_PASS)
/// The thread's number in the grid.
__device__ inline uint32_t thread_index() {
  return blockIdx.x * blockDim.x + threadIdx.x;
}

/// The sum over the block of each thread's v, in thread 0; of blocks of up to 1024 threads, whole warps. The order
/// depends on the block's size alone. `parts` is shared, [32]; free for the next call after a barrier.
template <class A>
__device__ A block_sum(A v, A* parts) {
  for (unsigned step = 16; step > 0; step /= 2) v = v + __shfl_down_sync(0xffffffffu, v, step);
  if (blockDim.x <= 32) return v;
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x >= 32) return v;
  v = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : A{0};
  for (unsigned step = 16; step > 0; step /= 2) v = v + __shfl_down_sync(0xffffffffu, v, step);
  return v;
}
#endif

}  // namespace tidepool::cuda
