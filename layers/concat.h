// Maps joined along their channels.
#pragma once
#include <span>

#include "core/tensor.h"

namespace tidepool {

/// Inputs [N, C_i, spatial] of one type that differ in C_i alone -> y [N, C_0 + C_1 + ..., spatial], channels in the
/// order of the inputs, in the first one's memory format. At least one input; a single one is returned itself. Keeps
/// the numbers of channels (8 bytes per input). Throws Error("[concat] ...").
Tensor concat(std::span<const Tensor> inputs);

}  // namespace tidepool
