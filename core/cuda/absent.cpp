// Stands in for core/cuda/runtime.cpp in a build without CUDA.
#include "core/cuda/runtime_api.h"
#include "core/error.h"

namespace tidepool::cuda {

const bool kBuilt = false;
int device_count() noexcept {
  return 0;
}
DeviceDescription describe() {
  throw Failure("this build has no CUDA");
}
void* allocate(size_t) {
  throw Failure("this build has no CUDA");
}
void release(void*) noexcept {}
void copy(void*, const void*, size_t) {
  throw Failure("this build has no CUDA");
}

}  // namespace tidepool::cuda
