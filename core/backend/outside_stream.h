// Work among that of another library on the same GPU.
#pragma once
#include <functional>
#include <mutex>

#include "core/device.h"

namespace tidepool {

/// Runs `work`. What it gives a GPU stands in the order of the other library's stream (a cudaStream_t; nullptr: CUDA's
/// default one): behind what that stream holds now, before what it is given from here on, also where `work` throws.
/// Memory may therefore be handed over in both directions without a wait of the host. It stands behind what other such
/// streams hold too, as memory that they read may be free here. Throws Failure for a stream that is captured into a
/// graph. One work runs at a time. On the CPU there is no order to keep.
void in_order_of(Device device, void* stream, const std::function<void()>& work);

/// While it is held no such work is under way: memory that the other library gives back is free for the next one, which
/// stands behind all that its streams hold by then.
std::unique_lock<std::recursive_mutex> between_outside_work();

}  // namespace tidepool
