// Copies of device tensors that the host has already, or soon: what it would else wait for the device to send.
#pragma once
#include <memory>
#include <span>

#include "core/tensor.h"

namespace tidepool::cuda {

/// The host will read these soon: copies of them, as the compute stream will have made them, are on their way to
/// pinned memory.
void send_to_host(std::span<const Tensor> tensors);
/// `memory` [bytes of t] holds the elements of t, in their order in memory, as long as `owner` lives and t is not
/// written.
void note_host_copy(const Tensor& t, const void* memory, std::shared_ptr<const void> owner);

/// The elements of a dense t in their order in memory, where the host has them; waits for one that is on its way. Else
/// nullptr. Stays until t is written or the next call.
const void* host_copy(const Tensor& t);

}  // namespace tidepool::cuda
