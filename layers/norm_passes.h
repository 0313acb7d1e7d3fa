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

/// The same of `rows` rows of C channels, ReLU included, on this thread: x and y [rows, C] of f32 or bf16, constants
/// f32 [3, C].
template <class T>
void apply_rows(const T* x, int64_t rows, int64_t channels, const float* constants, T* y);
extern template void apply_rows(const float*, int64_t, int64_t, const float*, float*);
extern template void apply_rows(const bf16*, int64_t, int64_t, const float*, bf16*);

/// Of `rows` rows, on this thread: sums f64 [2, C] (set) of g and of g (x - mean), g = dz behind the ReLU.
template <class T>
void gradient_sums_of_rows(const T* x, const T* dz, int64_t rows, int64_t channels, const float* constants,
                           double* sums);
extern template void gradient_sums_of_rows(const float*, const float*, int64_t, int64_t, const float*, double*);
extern template void gradient_sums_of_rows(const bf16*, const bf16*, int64_t, int64_t, const float*, double*);

/// The sums of a gradient dz that its norm wants (of g and of g (x - mean), f64 [2, C]), left here by the operator that
/// makes dz, when it has dz in hand anyway. They are of that very tensor: when another operator's gradient is added to
/// it they are not found, and the norm sums for itself.
class KnownSums {
 public:
  /// Nobody wants any.
  KnownSums() = default;
  /// Room for those of `channels` channels.
  static KnownSums wanted(int64_t channels);
  /// What a tape kept.
  explicit KnownSums(const Tensor& room) : room_(room) {}

  const Tensor& room() const { return room_; }
  explicit operator bool() const { return static_cast<bool>(room_); }
  /// parts: f64 [chunks, 2, C], added in order.
  void put(const Tensor& dz, const Tensor& parts) const;
  /// [2, C], or undefined.
  Tensor of(const Tensor& dz) const;

 private:
  Tensor room_;  // f64 [2 C + 2]: the sums, and whose they are
};

struct ParameterGradient {
  Tensor dgamma, dbeta;
  Tensor line;  ///< [2, C] slope and offset: dx = scale g + (x - mean) slope + offset, g = dy behind the ReLU
};
/// `sums`: as KnownSums has them, or undefined.
ParameterGradient parameter_gradient(const Tensor& x, const Tensor& dy, const Tensor& stats, const Tensor& constants,
                                     bool training, bool relu, const Tensor& sums = {});
void apply_gradient(const Tensor& x, const Tensor& dy, const Tensor& constants, const Tensor& line, bool relu,
                    const Tensor& dx);

/// Throws Error("[batch_norm] ...") as batch_norm does.
void check(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
           const Tensor& running_var, const BatchNormOptions& o);

}  // namespace tidepool::norm
