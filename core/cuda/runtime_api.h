// What the rest of core needs of the CUDA runtime; its header is included by core/cuda/runtime.cpp alone. Without CUDA,
// core/cuda/absent.cpp stands in.
#pragma once
#include <cstddef>

#include "core/device.h"

namespace tidepool::cuda {

extern const bool kBuilt;
int device_count() noexcept;
DeviceDescription describe();
void* allocate(size_t bytes);
void release(void* block) noexcept;
void copy(void* to, const void* from, size_t bytes);

}  // namespace tidepool::cuda
