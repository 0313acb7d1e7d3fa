#pragma once
#include "core/tensor.h"

namespace tidepool::cuda {

/// y [N, C, spatial], dense, += bias [C] of y's type, or f32 where y is bf16.
void add_channel_bias(const Tensor& y, const Tensor& bias);

}  // namespace tidepool::cuda
