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
  double count = 0;  ///< values per channel; 0: none
};

/// Joins chunks (Chan, Golub & LeVeque 1979): parts f64 [chunks, 2, C], counts f64 [chunks].
Moments join(const Tensor& parts, const Tensor& counts);
/// One pass over x.
Moments moments_of(const Tensor& x);

/// In training the batch's statistics, and the running ones are updated (when there are values); else the running ones.
Tensor statistics(const Moments& moments, const Tensor& running_mean, const Tensor& running_var,
                  const BatchNormOptions& o);
Tensor constants(const Tensor& stats, const Tensor& gamma, const Tensor& beta);

/// Whether the kernels below know it: none, relu, relu6, silu.
bool serves(Act act);

/// y = act((x - mean) scale + shift).
void apply(const Tensor& x, const Tensor& constants, Act act, const Tensor& y);

/// The same of `rows` rows of C channels, on this thread: x and y [rows, C] of f32 or bf16, constants f32 [3, C].
template <class T>
void apply_rows(const T* x, int64_t rows, int64_t channels, const float* constants, Act act, T* y);
extern template void apply_rows(const float*, int64_t, int64_t, const float*, Act, float*);
extern template void apply_rows(const bf16*, int64_t, int64_t, const float*, Act, bf16*);

/// Of `rows` rows, on this thread: sums f64 [2, C] (set) of g and of g (x - mean), g the gradient of the norm, dz that
/// of the activation.
template <class T>
void gradient_sums_of_rows(const T* x, const T* dz, int64_t rows, int64_t channels, const float* constants, Act act,
                           double* sums);
extern template void gradient_sums_of_rows(const float*, const float*, int64_t, int64_t, const float*, Act, double*);
extern template void gradient_sums_of_rows(const bf16*, const bf16*, int64_t, int64_t, const float*, Act, double*);
/// [2, C] of parts f64 [chunks, 2, C], added in order.
Tensor joined_sums(const Tensor& parts);

struct ParameterGradient {
  Tensor dgamma, dbeta;
  Tensor line;  ///< [2, C] slope and offset: dx = scale g + (x - mean) slope + offset, g = the gradient of the norm, dy
                ///< that of the activation
};
/// `sums`: f64 [2, C] of g and of g (x - mean), or undefined: computed here.
ParameterGradient parameter_gradient(const Tensor& x, const Tensor& dy, const Tensor& stats, const Tensor& constants,
                                     bool training, Act act, const Tensor& sums = {});
void apply_gradient(const Tensor& x, const Tensor& dy, const Tensor& constants, const Tensor& line, Act act,
                    const Tensor& dx);

/// Throws Error("[batch_norm] ...") as batch_norm does.
void check(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
           const Tensor& running_var, const BatchNormOptions& o);

}  // namespace tidepool::norm
