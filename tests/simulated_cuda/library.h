// What stand-ins for libraries of CUDA need of the simulated device.
#pragma once
#include <driver_types.h>

#include <functional>

namespace simulated {

/// Whether this call is the one that is to fail. Every call that may fail asks, once.
bool call_fails();
/// Puts work of a library into a stream; it may read and write the device's memory. Throws std::logic_error for a
/// stream that the program has not made, the default one among them.
void enqueue(cudaStream_t stream, std::function<void()> work);
/// Throws std::logic_error unless [memory, memory + bytes) lies in one block of the device.
void expect_on_device(const void* memory, size_t bytes);

}  // namespace simulated
