// The cost of a network in its loss: the GMACs penalty lambda G / unit, or a budget T (loss.gmacs_target).
#pragma once
#include "models/network.h"
#include "train/config.h"
#include "train/optimizer.h"

namespace tidepool {

/// Adds lambda * d gmacs / d parameter to the gradients of the shape parameters.
void add_gmacs_gradient(const Trace& trace, double lambda);

class GmacsTerm {
 public:
  /// Largest |G/T - 1| of a network that counts as of cost T.
  static constexpr double kEqualCost = 0.05;

  /// `initial`: the network's cost at step 0, in 1e9.
  GmacsTerm(const LossConfig& loss, double initial);

  /// What the term is a multiple of, in 1e9: the unit of the penalty, or T; of a resumed run that of its first step.
  double unit() const { return unit_; }
  void set_unit(double unit) { unit_ = unit; }
  /// Whether it has to be saved: it is the cost at step 0.
  bool unit_is_initial() const { return initial_; }
  /// The factor of G / unit in the loss: lambda, or mu.
  double factor() const { return factor_; }
  /// Whether the factor is the multiplier mu of a budget, which has to be saved.
  bool has_multiplier() const { return budget_ && control_ == GmacsControl::kMultiplier; }
  void set_multiplier(double mu) { factor_ = mu; }
  /// Whether there is a budget; unit() is then T.
  bool has_budget() const { return budget_; }

  /// After a step that moved sizes. Multiplier: mu <- max(0, mu + rho (G/T - 1)) with G of the new sizes. Projection:
  /// moves the parameters that moved in step `step` along the gradient of G (in their logarithms where they are
  /// positive) until |G/T - 1| is at most 0.02, or, where whole sizes do not allow that, as small as they do.
  void sizes_moved(Network& network, const Optimizer& optimizer, int64_t step);

 private:
  void project(Network& network, const Optimizer& optimizer, int64_t step) const;

  bool budget_, initial_;
  GmacsControl control_;
  double rate_, unit_ = 1, factor_;
};

}  // namespace tidepool
