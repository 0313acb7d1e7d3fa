#include <cuda_runtime.h>

#include "core/cuda/runtime_api.h"
#include "core/error.h"

namespace tidepool::cuda {
namespace {

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw Failure("CUDA: {}: {}", what, cudaGetErrorString(status));
}

}  // namespace

const bool kBuilt = true;

int device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();  // no driver is no error here: the answer is none
    return 0;
  }
  return count;
}

DeviceDescription describe() {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "reading the card's properties");
  return {.name = "cuda",
          .model = properties.name,
          .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem),
          .threads = properties.multiProcessorCount};
}

void* allocate(size_t bytes) {
  void* block = nullptr;
  check(cudaMalloc(&block, bytes), "allocating memory");
  return block;
}

void release(void* block) noexcept {
  cudaFree(block);
}

void copy(void* to, const void* from, size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "copying");
}

}  // namespace tidepool::cuda
