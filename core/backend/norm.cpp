// The passes of a batch norm: results allocated, the device's tables called.
#include "core/backend/norm.h"

#include <algorithm>

namespace tidepool::norm {
namespace {

constexpr const char* kWho = "batch_norm";

Tensor f64_like(const Tensor& like, const Dims& shape) {
  return Tensor::empty(shape, {.dtype = DType::f64, .device = like.device()});
}
double count_of(const Tensor& x) {
  return static_cast<double>(x.numel() / std::max<int64_t>(1, x.size(1)));
}

}  // namespace

Moments join(const Tensor& parts, const Tensor& counts, double count) {
  const Moments moments{.values = f64_like(parts, {2, parts.size(2)}), .count = count};
  backend::run(kWho, &NormTable::join_moments, parts, counts, moments.values);
  return moments;
}

Moments moments_of(const Tensor& x) {
  const Moments moments{.values = f64_like(x, {2, x.size(1)}), .count = count_of(x)};
  backend::run(kWho, &NormTable::moments, x, moments.values);
  return moments;
}

Tensor statistics(const Moments& moments, const Tensor& running_mean, const Tensor& running_var,
                  const BatchNormOptions& o) {
  const Tensor stats = f64_like(running_mean, {2, running_mean.size(0)});
  const bool of_batch = o.training && moments.count > 0;
  backend::run(kWho, &NormTable::statistics, of_batch ? moments.values : Tensor(), moments.count, running_mean,
               running_var, o, stats);
  return stats;
}

Tensor constants(const Tensor& stats, const Tensor& gamma, const Tensor& beta) {
  const Tensor result = Tensor::empty({3, stats.size(1)}, {.dtype = gamma.dtype(), .device = gamma.device()});
  backend::run(kWho, &NormTable::constants, stats, gamma, beta, result);
  return result;
}

void apply(const Tensor& x, const Tensor& constants, Act act, const Tensor& y) {
  backend::run(kWho, &NormTable::apply, x, constants, act, y);
}

Tensor joined_sums(const Tensor& parts) {
  const Tensor sums = f64_like(parts, {2, parts.size(2)});
  backend::run(kWho, &NormTable::join_sums, parts, sums);
  return sums;
}

ParameterGradient parameter_gradient(const Tensor& x, const Tensor& dy, const Tensor& stats, const Tensor& constants,
                                     bool training, Act act, const Tensor& known) {
  const int64_t channels = x.size(1);
  const TensorOptions like{.dtype = constants.dtype(), .device = x.device()};
  const ParameterGradient result{Tensor::empty({channels}, like), Tensor::empty({channels}, like),
                                 Tensor::empty({2, channels}, like)};
  const Tensor sums = known ? known : f64_like(x, {2, channels});
  if (!known) backend::run(kWho, &NormTable::gradient_sums, x, dy, constants, act, sums);
  backend::run(kWho, &NormTable::parameter_gradient, sums, count_of(x), stats, constants, training, result.dgamma,
               result.dbeta, result.line);
  return result;
}

void apply_gradient(const Tensor& x, const Tensor& dy, const Tensor& constants, const Tensor& line, Act act,
                    const Tensor& dx) {
  backend::run(kWho, &NormTable::apply_gradient, x, dy, constants, line, act, dx);
}

}  // namespace tidepool::norm
