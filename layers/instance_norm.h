// Instance normalisation (Ulyanov, Vedaldi & Lempitsky 2016): each channel of each image by itself.
#pragma once
#include "core/tensor.h"

namespace tidepool {

/// y = (x - mean) / sqrt(var + eps) gamma + beta, mean and (biased) variance over the positions of an image's channel,
/// about the mean and in f64. x [N, C, spatial] of f32 or f64 with 1 to 3 spatial axes of at least one position; gamma,
/// beta [C] of x's type. Keeps x and 2 N C numbers. Batch 0 is legal. Throws Error("[instance_norm] ...").
Tensor instance_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps = 1e-5);

}  // namespace tidepool
