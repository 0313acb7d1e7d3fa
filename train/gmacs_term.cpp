#include "train/gmacs_term.h"

#include <algorithm>
#include <cmath>

#include "core/backend/copy.h"
#include "core/backend/elementwise.h"
#include "train/shape_learning.h"

namespace tidepool {

namespace {

std::vector<LearnedSize> moving_sizes(const Network& network, const Optimizer& optimizer, int64_t step) {
  std::vector<LearnedSize> sizes = network.learned_sizes();
  std::erase_if(sizes,
                [&](const LearnedSize& s) { return s.slope == 0 || optimizer.turn(s.value, step) != Turn::moves; });
  return sizes;
}

}  // namespace

void add_gmacs_gradient(const Trace& trace, double lambda) {
  for (const Slope& s : trace.gmacs_gradient()) {
    Tensor grad = s.parameter.grad();
    if (reads_wait(s.parameter)) {
      std::vector<double> slopes(static_cast<size_t>(s.parameter.numel()));
      slopes[static_cast<size_t>(s.element)] = lambda * s.value;
      const Tensor more = Tensor::from<double>(std::span<const double>(slopes), s.parameter.shape())
                              .to(s.parameter.dtype())
                              .to(s.parameter.device());
      s.parameter.set_grad(grad ? add(grad, more) : more);
      continue;
    }
    grad = grad ? grad.clone() : Tensor::zeros(s.parameter.shape(), s.parameter.options());
    const Tensor one = grad.slice(0, s.element, 1);
    one.fill(one.item() + lambda * s.value);
    s.parameter.set_grad(grad);
  }
}

GmacsTerm::GmacsTerm(const LossConfig& loss, double initial)
    : budget_(loss.gmacs_target.has_value()),
      initial_(budget_ ? loss.target_is_initial() : loss.gmacs_unit == GmacsUnit::kInitial),
      control_(loss.gmacs_control),
      rate_(loss.gmacs_rate),
      factor_(budget_ ? 0 : loss.gmacs_lambda) {
  if (initial_)
    unit_ = initial;
  else if (budget_)
    unit_ = *loss.gmacs_target;
}

void GmacsTerm::sizes_moved(Network& network, const Optimizer& optimizer, int64_t step) {
  if (!budget_) return;
  if (control_ == GmacsControl::kMultiplier)
    factor_ = std::max(0.0, factor_ + rate_ * (network.trace().gmacs() / unit_ - 1));
  else
    project(network, optimizer, step);
}

void GmacsTerm::project(Network& network, const Optimizer& optimizer, int64_t step) const {
  constexpr double kTolerance = 0.02;
  constexpr int kDoublings = 20, kHalvings = 24;
  constexpr double kFarthest = 32;  // e^32 is beyond every bound, and f32 holds it
  const Trace trace = network.trace();
  const double excess = trace.gmacs() / unit_ - 1;
  if (std::abs(excess) <= kTolerance) return;
  const std::vector<LearnedSize> sizes = moving_sizes(network, optimizer, step);
  std::vector<double> first, gradient;  // of G, in the logarithm where a value is positive
  double square = 0;
  for (const LearnedSize& size : sizes) {
    first.push_back(size.at());
    double slope = 0;
    for (const Slope& s : trace.gmacs_gradient())
      if (s.element == size.element && s.parameter.shares_storage(size.value)) slope = s.value;
    gradient.push_back(slope * (first.back() > 0 ? first.back() : 1));
    square += gradient.back() * gradient.back();
  }
  if (square == 0) return;

  std::vector<double> best = first;
  double least = std::abs(excess);
  const auto excess_at = [&](const std::vector<double>& values) {
    for (size_t i = 0; i < sizes.size(); ++i) {
      std::vector<double> all = sizes[i].value.values();
      all[static_cast<size_t>(sizes[i].element)] = values[i];
      sizes[i].value.copy_from(
          Tensor::from<double>(std::span<const double>(all), sizes[i].value.shape()).to(sizes[i].value.dtype()));
    }
    network.project();
    const double now = network.trace().gmacs() / unit_ - 1;
    if (std::abs(now) < least) {
      least = std::abs(now);
      best = values;
    }
    return now;
  };
  const auto on_this_side = [&](double t) {
    std::vector<double> values = first;
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = first[i] > 0 ? first[i] * std::exp(std::clamp(t * gradient[i], -kFarthest, kFarthest))
                               : first[i] + t * gradient[i];
    return (excess_at(values) > 0) == (excess > 0);
  };

  double near = 0, far = -excess * unit_ / square;  // to first order
  int doublings = 0;
  while (on_this_side(far) && doublings < kDoublings) {
    near = far;
    far *= 2;
    ++doublings;
  }
  for (int i = 0; i < kHalvings && least > kTolerance && doublings < kDoublings; ++i) {
    const double middle = (near + far) / 2;
    (on_this_side(middle) ? near : far) = middle;
  }
  // Along the gradient sizes may change together, and by too much: then single ones by a row, from the nearest so far.
  for (size_t changed = 0; changed < sizes.size() && least > kTolerance; ++changed) {
    const std::vector<double> from = best;
    excess_at(from);
    std::vector<std::vector<double>> candidates;
    for (const LearnedSize& now : moving_sizes(network, optimizer, step))  // without those that have no slope here
      for (size_t i = 0; i < sizes.size(); ++i)
        if (now.element == sizes[i].element && now.value.shares_storage(sizes[i].value))
          for (const double rows : {1.0, -1.0}) {
            candidates.push_back(from);
            candidates.back()[i] = moved_by_rows(now, rows);
          }
    for (const std::vector<double>& values : candidates) excess_at(values);
    if (best == from) break;
  }
  excess_at(best);
}

}  // namespace tidepool
