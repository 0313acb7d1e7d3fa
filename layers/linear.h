// Linear layer: y = x weight^T + bias.
#pragma once
#include "core/tensor.h"

namespace tidepool {

/// x [N, I]; weight [O, I] of x's type, or f32 with x in bf16 (its gradient comes back in f32); bias [O] of the
/// weight's type, or undefined; y [N, O] in x's type. Batch 0 is legal. Throws Error("[linear] ...").
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias);

}  // namespace tidepool
