#include "layers/pool/starts.h"

#include <algorithm>
#include <cmath>

#include "core/philox.h"

namespace tidepool {

std::function<void(const Tensor&, uint64_t)> he_normal(double fan_out) {
  const double deviation = std::sqrt(2.0 / fan_out);
  return [deviation](const Tensor& t, uint64_t seed) {
    Random random(seed, 0);
    std::vector<double> values(static_cast<size_t>(t.numel()));
    for (double& v : values) v = static_cast<float>(deviation * random.normal());
    t.copy_from(Tensor::from<double>(std::span<const double>(values), t.shape()));
  };
}

std::function<void(const Tensor&, uint64_t)> start_at(double value) {
  return [value](const Tensor& t, uint64_t) { t.fill(value); };
}

std::function<void(const Tensor&, uint64_t)> start_at(std::vector<double> values) {
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
  parameter.mark_written();
}

}  // namespace tidepool
