// How the optimizer's rule is applied to parameters that decide sizes of maps: in their logarithm, by gradients over
// their own noise (optim.shape.log, optim.shape.normalize).
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "train/optimizers/rule.h"

namespace tidepool {

class ShapeRule final : public UpdateRule {
 public:
  /// `normalize`: the decay of the mean square; none: gradients as they are.
  ShapeRule(std::unique_ptr<UpdateRule> rule, bool log, std::optional<double> normalize);

  /// That of the rule within, then "mean_square" with normalize.
  std::vector<std::string> state() const override;
  /// With t = step.updates + 1, element by element: with log, w is replaced by its logarithm and g by w g; with
  /// normalize, g is clipped, v = d v + (1 - d) g^2 and g by g / (sqrt(v / (1 - d^t)) + 1e-12); then the rule within.
  /// Parameters have to be positive with log.
  void update(std::span<const ParameterUpdate> parameters, const UpdateStep& step) const override;

 private:
  std::unique_ptr<UpdateRule> rule_;
  bool log_;
  std::optional<double> normalize_;
};

}  // namespace tidepool
