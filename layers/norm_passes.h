// The passes that a batch norm is made of, so that a convolution can take some of them on its way (layers/conv_norm.h).
// Maps are dense, f32, bf16 or f64. `stats` are f64 [2, C]: mean and 1 / standard deviation. `constants` are [3, C] in
// the accumulation type: the norm is y = (x - mean) scale + shift; mean is rounded, what rounding took is in shift.
// Gradients are set, not added.
#pragma once
#include "layers/norm.h"

namespace tidepool::norm {

/// Mean and sum of squared differences from it: f64 [2, C].
struct Moments {
  Tensor values;
  double count = 0;  ///< values a channel; 0: none
};

/// Joins chunks (Chan, Golub & LeVeque 1979): parts f64 [chunks, 2, C], counts f64 [chunks].
Moments join(const Tensor& parts, const Tensor& counts);
/// One pass over x.
Moments moments_of(const Tensor& x);

/// In training the batch's statistics, and the running ones are updated (when there are values); else the running ones.
Tensor statistics(const Moments& moments, const Tensor& running_mean, const Tensor& running_var,
                  const BatchNormOptions& o);
Tensor constants(const Tensor& stats, const Tensor& gamma, const Tensor& beta);

/// y = (x - mean) scale + shift, then ReLU.
void apply(const Tensor& x, const Tensor& constants, bool relu, const Tensor& y);

struct ParameterGradient {
  Tensor dgamma, dbeta;
  Tensor line;  ///< [2, C] slope and offset: dx = scale g + (x - mean) slope + offset, g = dy behind the ReLU
};
ParameterGradient parameter_gradient(const Tensor& x, const Tensor& dy, const Tensor& stats, const Tensor& constants,
                                     bool training, bool relu);
void apply_gradient(const Tensor& x, const Tensor& dy, const Tensor& constants, const Tensor& line, bool relu,
                    const Tensor& dx);

/// Throws Error("[batch_norm] ...") as batch_norm does.
void check(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
           const Tensor& running_var, const BatchNormOptions& o);

}  // namespace tidepool::norm
