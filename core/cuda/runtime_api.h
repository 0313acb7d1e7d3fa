// What the rest of core needs of the CUDA runtime, without its header. Without CUDA, core/cuda/absent.cpp stands in.
// All but the counts throw Failure when a call fails.
#pragma once
#include <cstddef>
#include <functional>

#include "core/device.h"

namespace tidepool::cuda {

extern const bool kBuilt;
int device_count() noexcept;
DeviceDescription describe();
/// nullptr: out of memory.
void* allocate(size_t bytes);
/// Waits for what is under way, which may still use the block.
void release(void* block) noexcept;
/// Memory that nobody has, in bytes; 0 where the device does not say.
size_t free_bytes() noexcept;
/// In the compute stream's order. A copy from the host may return before it is made, and the host's bytes may change
/// then; one to the host waits for the stream.
void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes);
/// core/backend/outside_stream.h
void in_order_of(void* stream, const std::function<void()>& work);

}  // namespace tidepool::cuda
