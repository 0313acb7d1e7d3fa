#include "layers/init.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "core/backend/copy.h"
#include "core/philox.h"

namespace tidepool {

std::function<void(const Tensor&, uint64_t)> normal_init(double deviation) {
  return [deviation](const Tensor& t, uint64_t seed) { fill_normal(t, seed, deviation); };
}

std::function<void(const Tensor&, uint64_t)> uniform_init(double bound) {
  return [bound](const Tensor& t, uint64_t seed) {
    Random random(seed, 0);
    std::vector<double> values(static_cast<size_t>(t.numel()));
    for (double& v : values) v = static_cast<float>(bound * (2 * random.uniform() - 1));
    t.copy_from(Tensor::from<double>(std::span<const double>(values), t.shape()));
  };
}

std::function<void(const Tensor&, uint64_t)> he_normal(double fan_out) {
  return normal_init(std::sqrt(2.0 / fan_out));
}

std::function<void(const Tensor&, uint64_t)> constant_init(double value) {
  return [value](const Tensor& t, uint64_t) { t.fill(value); };
}

std::function<void(const Tensor&, uint64_t)> constant_init(std::vector<double> values) {
  return [values](const Tensor& t, uint64_t) {
    t.copy_from(Tensor::from<double>(std::span<const double>(values), {static_cast<int64_t>(values.size())}));
  };
}

void project_onto(const Tensor& parameter, const std::vector<double>& low, const std::vector<double>& high) {
  std::vector<double> values = parameter.values();
  bool inside = true;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    const double kept = std::min(std::max(values[i], low[i]), high[i]);
    inside = inside && kept == values[i];
    values[i] = kept;
  }
  if (inside) return;
  parameter.copy_from(Tensor::from<double>(std::span<const double>(values), parameter.shape())
                          .to(parameter.dtype())
                          .to(parameter.device()));
  expect_read(std::span(&parameter, 1));
}

}  // namespace tidepool
