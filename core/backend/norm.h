// The norm kernels that a batch norm is made of, so that a convolution can take some of them on its way
// (layers/fused/conv_norm.h), and the instance norm. Maps are dense, f32, bf16 or f64. `stats` are f64 [2, C]: mean and
// 1 / standard deviation. `constants` are [3, C] in the accumulation type: the norm is y = (x - mean) scale + shift;
// mean is rounded, what rounding took is in shift. Nothing is recorded here. Gradients are set, not added.
#pragma once
#include "core/backend/activation.h"

namespace tidepool {

struct BatchNormOptions {
  double momentum = 0.1;  ///< running <- (1 - momentum) running + momentum of this batch
  double eps = 1e-5;
  bool training = true;  ///< statistics of the batch, and the running ones are updated; else the running ones are used
  /// y = act(batch norm), one operator: none, relu, relu6 or silu. Beside the two one after the other: the same bits
  /// (bf16: rounded once less).
  Act act = Act::none;
};

/// [C] each, dense, in the accumulation type.
struct BatchNormParameters {
  Tensor gamma, beta, running_mean, running_var;

  template <class F>
  void each_tensor(const F& f) const {
    f(gamma), f(beta), f(running_mean), f(running_var);
  }
};

struct NormTable {
  const char* name;
  /// moments f64 [2, C]: mean and sum of squared differences from it.
  bool (*moments)(const Tensor& x, const Tensor& moments);
  /// The same of chunks (Chan, Golub & LeVeque 1979): parts f64 [chunks, 2, C], counts f64 [chunks].
  bool (*join_moments)(const Tensor& parts, const Tensor& counts, const Tensor& moments);
  /// stats and constants: of moments of `count` values per channel, which update the running ones; undefined: of the
  /// running ones.
  bool (*statistics)(const Tensor& moments, double count, const BatchNormParameters& p, const BatchNormOptions& o,
                     const Tensor& stats, const Tensor& constants);
  /// moments and statistics of them at once; where no table has it, the two one after the other.
  bool (*batch_statistics)(const Tensor& x, const BatchNormParameters& p, const BatchNormOptions& o,
                           const Tensor& stats, const Tensor& constants);
  /// y = act((x - mean) scale + shift).
  bool (*apply)(const Tensor& x, const Tensor& constants, Act act, const Tensor& y);
  /// sums f64 [2, C] of g and of g (x - mean), g the gradient of the norm, dy that of the activation.
  bool (*gradient_sums)(const Tensor& x, const Tensor& dy, const Tensor& constants, Act act, const Tensor& sums);
  /// [2, C] of parts f64 [chunks, 2, C], added in order.
  bool (*join_sums)(const Tensor& parts, const Tensor& sums);
  /// Of `count` values per channel; line [2, C] slope and offset: dx = scale g + (x - mean) slope + offset.
  bool (*parameter_gradient)(const Tensor& sums, double count, const Tensor& stats, const Tensor& constants,
                             bool training, const Tensor& dgamma, const Tensor& dbeta, const Tensor& line);
  /// gradient_sums and parameter_gradient of them at once; where no table has it, the two one after the other.
  bool (*batch_gradient)(const Tensor& x, const Tensor& dy, const Tensor& stats, const Tensor& constants, Act act,
                         bool training, const Tensor& dgamma, const Tensor& dbeta, const Tensor& line);
  bool (*apply_gradient)(const Tensor& x, const Tensor& dy, const Tensor& constants, const Tensor& line, Act act,
                         const Tensor& dx);
  /// Per image and channel; stats f64 [N, 2, C].
  bool (*instance_norm)(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps, const Tensor& y,
                        const Tensor& stats);
  bool (*instance_norm_backward)(const Tensor& x, const Tensor& gamma, const Tensor& stats, const Tensor& dy,
                                 const Tensor& dx, const Tensor& dgamma, const Tensor& dbeta);
};

namespace backend {
template <>
std::span<const NormTable* const> tables<NormTable>(Device device);
}

namespace norm {

struct Statistics {
  Tensor stats, constants;
};
/// Of a map that has values, which update the running ones.
Statistics batch_statistics(const Tensor& x, const BatchNormParameters& p, const BatchNormOptions& o);
/// The same from a map's chunks, with `count` values per channel in all.
Statistics chunk_statistics(const Tensor& parts, const Tensor& counts, double count, const BatchNormParameters& p,
                            const BatchNormOptions& o);
/// Of the running ones.
Statistics running_statistics(const BatchNormParameters& p, const BatchNormOptions& o);

/// Whether a norm may have it behind it in one operator: none, relu, relu6, silu.
constexpr bool serves(Act act) {
  return act == Act::none || act == Act::relu || act == Act::relu6 || act == Act::silu;
}

/// y = act((x - mean) scale + shift).
void apply(const Tensor& x, const Tensor& constants, Act act, const Tensor& y);
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

}  // namespace norm
}  // namespace tidepool
