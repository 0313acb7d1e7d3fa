#include "train/shape_rule.h"

#include <cmath>
#include <utility>

namespace tidepool {
namespace {

constexpr double kEps = 1e-12;  // below every gradient that is not 0

// A handful of numbers: arithmetic on the host, in f64.
void write(const Tensor& to, const std::vector<double>& values) {
  to.copy_from(Tensor::from<double>(std::span<const double>(values), to.shape()).to(to.dtype()));
}

}  // namespace

ShapeRule::ShapeRule(std::unique_ptr<UpdateRule> rule, bool log, std::optional<double> normalize)
    : rule_(std::move(rule)), log_(log), normalize_(normalize) {}

std::vector<std::string> ShapeRule::state() const {
  std::vector<std::string> names = rule_->state();
  if (normalize_) names.emplace_back("mean_square");
  return names;
}

void ShapeRule::update(std::span<const ParameterUpdate> parameters, const UpdateStep& step) const {
  if (!log_ && !normalize_) return rule_->update(parameters, step);
  if (stopped(step.go)) return;
  std::vector<ParameterUpdate> inner(parameters.begin(), parameters.end());
  UpdateStep rest = step;
  const double scale = normalize_ ? grad_scale(step) : 1;  // before the mean square: clipping comes first
  if (normalize_) rest.squares = {};
  for (ParameterUpdate& p : inner) {
    std::vector<double> w = p.value.values(), g = p.grad.values();
    for (double& one : g) one *= scale;
    if (log_)
      for (size_t i = 0; i < w.size(); ++i) {
        g[i] *= w[i];
        w[i] = std::log(w[i]);
      }
    if (normalize_) {
      const Tensor& kept = p.state.back();
      std::vector<double> v = kept.values();
      const double d = *normalize_, correction = 1 - std::pow(d, static_cast<double>(step.updates + 1));
      for (size_t i = 0; i < v.size(); ++i) {
        v[i] = d * v[i] + (1 - d) * g[i] * g[i];
        g[i] /= std::sqrt(v[i] / correction) + kEps;
      }
      write(kept, v);
      p.state = p.state.first(p.state.size() - 1);
    }
    p.grad = p.grad.clone();
    write(p.grad, g);
    if (log_) {
      p.value = p.value.clone();
      write(p.value, w);
    }
  }
  rule_->update(inner, rest);
  if (!log_) return;
  for (size_t k = 0; k < inner.size(); ++k) {
    std::vector<double> w = inner[k].value.values();
    for (double& one : w) one = std::exp(one);
    write(parameters[k].value, w);
  }
}

}  // namespace tidepool
