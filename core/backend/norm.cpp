// The passes of a batch norm: results allocated, the device's tables called.
#include "core/backend/norm.h"

#include <algorithm>

namespace tidepool::norm {
namespace {

constexpr const char* kWho = "batch_norm";

Tensor f64_like(const Tensor& like, const Dims& shape) {
  return Tensor::empty(shape, {.dtype = DType::f64, .device = like.device()});
}
Statistics room_for(const BatchNormParameters& p) {
  const int64_t channels = p.gamma.size(0);
  return {.stats = f64_like(p.gamma, {2, channels}),
          .constants = Tensor::empty({3, channels}, {.dtype = p.gamma.dtype(), .device = p.gamma.device()})};
}
double count_of(const Tensor& x) {
  return static_cast<double>(x.numel() / std::max<int64_t>(1, x.size(1)));
}

}  // namespace

Statistics batch_statistics(const Tensor& x, const BatchNormParameters& p, const BatchNormOptions& o) {
  const Statistics result = room_for(p);
  if (backend::try_run(kWho, &NormTable::batch_statistics, x, p, o, result.stats, result.constants)) return result;
  const Tensor moments = f64_like(x, {2, x.size(1)});
  backend::run(kWho, &NormTable::moments, x, moments);
  backend::run(kWho, &NormTable::statistics, moments, count_of(x), p, o, result.stats, result.constants);
  return result;
}

Statistics chunk_statistics(const Tensor& parts, const Tensor& counts, double count, const BatchNormParameters& p,
                            const BatchNormOptions& o) {
  const Statistics result = room_for(p);
  const Tensor moments = f64_like(parts, {2, parts.size(2)});
  backend::run(kWho, &NormTable::join_moments, parts, counts, moments);
  backend::run(kWho, &NormTable::statistics, moments, count, p, o, result.stats, result.constants);
  return result;
}

Statistics running_statistics(const BatchNormParameters& p, const BatchNormOptions& o) {
  const Statistics result = room_for(p);
  backend::run(kWho, &NormTable::statistics, Tensor(), 0.0, p, o, result.stats, result.constants);
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
  if (!known && backend::try_run(kWho, &NormTable::batch_gradient, x, dy, stats, constants, act, training,
                                 result.dgamma, result.dbeta, result.line))
    return result;
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
