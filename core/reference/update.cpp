#include "core/backend/update.h"

#include <algorithm>
#include <cmath>

#include "core/reference/elements.h"
#include "core/reference/tables.h"

namespace tidepool::reference {
namespace {

bool sgd(std::span<const ParameterUpdate> parameters, const UpdateStep& step, const SgdConstants& constants) {
  if (stopped(step.go)) return true;
  const double scale = grad_scale(step);
  for (const ParameterUpdate& p : parameters) {
    const Elements grad(p.grad);
    const Results w(p.value), velocity(p.state[0]);
    for (int64_t i = 0; i < w.size(); ++i) {
      const double g = grad[i] * scale + p.weight_decay * w[i];
      const double v = step.updates == 0 ? g : constants.momentum * velocity[i] + g;
      w.set(i, w[i] - step.rate * (constants.nesterov ? g + constants.momentum * v : v));
      velocity.set(i, v);
    }
  }
  return true;
}

bool adamw(std::span<const ParameterUpdate> parameters, const UpdateStep& step, const AdamWConstants& constants) {
  if (stopped(step.go)) return true;
  const double scale = grad_scale(step);
  const auto t = static_cast<double>(step.updates + 1);
  const double b1 = constants.betas[0], b2 = constants.betas[1];
  for (const ParameterUpdate& p : parameters) {
    const Elements grad(p.grad);
    const Results w(p.value), first(p.state[0]), second(p.state[1]);
    for (int64_t i = 0; i < w.size(); ++i) {
      const double g = grad[i] * scale;
      const double m = b1 * first[i] + (1 - b1) * g, v = b2 * second[i] + (1 - b2) * g * g;
      w.set(i, w[i] * (1 - step.rate * p.weight_decay) -
                   step.rate * m / (1 - std::pow(b1, t)) / (std::sqrt(v / (1 - std::pow(b2, t))) + constants.eps));
      first.set(i, m);
      second.set(i, v);
    }
  }
  return true;
}

bool rmsprop(std::span<const ParameterUpdate> parameters, const UpdateStep& step, const RmspropConstants& constants) {
  if (stopped(step.go)) return true;
  const double scale = grad_scale(step);
  const double alpha = constants.alpha;
  const bool has_momentum = constants.momentum > 0;
  for (const ParameterUpdate& p : parameters) {
    const Elements grad(p.grad);
    const Results w(p.value), square(p.state[0]);
    for (int64_t i = 0; i < w.size(); ++i) {
      const double g = grad[i] * scale + p.weight_decay * w[i];
      const double s = alpha * square[i] + (1 - alpha) * g * g;
      double spread = s;
      if (constants.centered) {
        const Results average(p.state[has_momentum ? 2 : 1]);
        const double a = alpha * average[i] + (1 - alpha) * g;
        average.set(i, a);
        spread = std::max(s - a * a, 0.0);
      }
      double u = g / (std::sqrt(spread) + constants.eps);
      if (has_momentum) {
        const Results buffer(p.state[1]);
        u += constants.momentum * buffer[i];
        buffer.set(i, u);
      }
      square.set(i, s);
      w.set(i, w[i] - step.rate * u);
    }
  }
  return true;
}

bool moving_average(std::span<const Tensor> current, double decay, std::span<const Tensor> average, const Tensor& go) {
  if (stopped(go)) return true;
  for (size_t k = 0; k < average.size(); ++k) {
    const Elements now(current[k]);
    const Results mean(average[k]);
    for (int64_t i = 0; i < mean.size(); ++i) mean.set(i, decay * mean[i] + (1 - decay) * now[i]);
  }
  return true;
}

}  // namespace

const UpdateTable kUpdate{
    .name = "reference", .sgd = sgd, .adamw = adamw, .rmsprop = rmsprop, .moving_average = moving_average};

}  // namespace tidepool::reference
