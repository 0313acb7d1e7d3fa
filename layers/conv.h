// Convolution: y[n,o,i] = bias[o] + sum over c, k of weight[o,c,k] x[n, c, i stride - padding + k dilation], absent
// positions being 0 (cross-correlation, as in torch.nn).
#pragma once
#include "core/backend/conv.h"
#include "core/tensor.h"

namespace tidepool {

/// Shape of the result. Throws Error("[conv] ...") when shapes and options do not fit each other.
Dims convolution_shape(const Dims& x, const Dims& weight, const ConvOptions& options);

/// x [N, C, spatial] with 1 to 3 spatial axes; weight [O, C/groups, k...]; bias [O] of the weight's type, or undefined.
/// The weight is of x's type, or f32 with x in bf16 (then it is rounded to bf16 for the products, and its gradient
/// comes back in f32, not rounded; on a GPU in bf16, as its library gives it). Batch 0 is legal. Reordered
/// weights are cached by Tensor::version().
Tensor convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options = {});

}  // namespace tidepool
