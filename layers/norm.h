// Batch normalisation (Ioffe & Szegedy, ICML 2015), as torch.nn.BatchNorm, by itself or with the activation that
// follows it.
#pragma once
#include "core/backend/norm.h"
#include "layers/activation.h"

namespace tidepool {

/// y = (x - mean) / sqrt(var + eps) gamma + beta per channel. x [N, C, spatial] with 0 to 3 spatial axes. gamma, beta,
/// running_mean, running_var [C], f32 (f64 with x in f64). In training mean and (biased) variance are the batch's,
/// summed in a fixed order in two levels, the upper in f64, about a pivot: a large mean costs no digits; running_var
/// gets the unbiased variance. Keeps x and 5 C numbers for the backward (the activation's gradient is computed from
/// them). Throws Error("[batch_norm] ..."), also for another activation and when training with one value per channel.
/// Batch 0 is legal: the running statistics then stay.
Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                  const Tensor& running_var, const BatchNormOptions& options = {});

namespace norm {
/// Throws Error("[batch_norm] ...") as batch_norm does.
void check(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
           const Tensor& running_var, const BatchNormOptions& o);
}  // namespace norm

}  // namespace tidepool
