// What kernels are made of: loads and stores of 16 bytes, loops over a grid, sums over a block in a fixed order. For
// sources of kernels alone.
#pragma once
#include <type_traits>

#include "core/cuda/launch.h"
#include "core/dtype.h"
#include "core/tensor.h"

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

/// n neighbours from element `at` on, at once.
template <int n, class T>
TP_HD TP_INLINE Pack<T, n> load_pack(const T* p, uint32_t at) {
  return *reinterpret_cast<const Pack<T, n>*>(p + at);
}
template <int n, class T>
TP_HD TP_INLINE void store_pack(T* p, uint32_t at, const Pack<T, n>& v) {
  *reinterpret_cast<Pack<T, n>*>(p + at) = v;
}

/// Calls f(a constant n): how many elements a thread may take at once of arrays whose lengths, and the distances of
/// whose runs, are multiples of `count`: 16 bytes of T, or one.
template <class T, class F>
void dispatch_pack(int64_t count, std::initializer_list<const void*> arrays, const F& f) {
  bool aligned = count % kPack<T> == 0;
  for (const void* p : arrays) aligned = aligned && reinterpret_cast<uintptr_t>(p) % 16 == 0;
  if (aligned)
    f(std::integral_constant<int, kPack<T>>{});
  else
    f(std::integral_constant<int, 1>{});
}

/// A dense map [N, C, spatial] as kernels see it.
struct Map {
  uint32_t images = 1, channels = 1, positions = 1;
  bool last = false;  ///< channels-last

  explicit Map(const Tensor& x)
      : images(narrow(x.size(0))),
        channels(narrow(x.rank() > 1 ? x.size(1) : 1)),
        last(x.format() == MemoryFormat::channels_last || x.rank() == 2) {
    int64_t p = 1;
    for (int i = 2; i < x.rank(); ++i) p *= x.size(i);
    positions = narrow(p);
    narrow(x.numel());  // indices are 32 bits wide
  }
  TP_HD uint32_t channel(uint32_t i) const { return last ? i % channels : i / positions % channels; }
  TP_HD uint32_t image(uint32_t i) const { return i / (channels * positions); }
  /// The number of element i's image and channel: n C + c.
  TP_HD uint32_t row(uint32_t i) const { return last ? image(i) * channels + i % channels : i / positions; }
};

#if defined(TP_DEVICE_PASS)
/// The thread's number in the grid.
__device__ inline uint32_t thread_index() {
  return blockIdx.x * blockDim.x + threadIdx.x;
}

/// f(i) for i of [0, count).
template <class F>
__global__ void for_each(uint32_t count, F f) {
  const uint32_t i = thread_index();
  if (i < count) f(i);
}
template <class F>
void launch_each(int64_t count, const F& f, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  launch(for_each<F>, Grid::over(count, 256, file, line), narrow(count), f);
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
