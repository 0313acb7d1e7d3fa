// Parameter groups: which parameters an optimizer's update is for, at what rate and when. Updates are of the f32 (f64)
// master weights, in place; the optimizers themselves are in train/optimizers/.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "layers/parameter.h"
#include "train/config.h"
#include "train/optimizers/rule.h"

namespace tidepool {

/// True when `name` fits the glob: * any characters, ? one.
bool glob_match(const std::string& pattern, const std::string& name);

class Optimizer {
 public:
  /// Warns of a group that matches no parameter. Throws Error for a name that is no optimizer's.
  Optimizer(const OptimConfig& config, const std::vector<Parameter>& parameters, int64_t steps_per_epoch,
            int64_t total_steps);

  /// Updates every parameter that has a gradient from it, as of step `step` (from 0), and drops the gradients. `go`: as
  /// in UpdateStep.
  void step(int64_t step, const Tensor& go = {});
  /// The learning rate of the parameters that are in no group.
  double learning_rate(int64_t step) const;

  /// The state's tensors by name ("features.0.weight/momentum"), for a checkpoint; writing into them restores it.
  std::vector<std::pair<std::string, Tensor>> state() const;

 private:
  struct Slot {
    Parameter parameter;
    size_t group = 0;  // 0: none; else a place in the config's groups, from 1; behind them optim.shape
    double weight_decay = 0;
    std::vector<Tensor> state;  // as the group's rule says
  };
  const GroupSettings* config_of(size_t group) const {
    if (group == 0) return nullptr;
    return group <= config_.groups.size() ? &config_.groups[group - 1] : &*config_.shape;
  }
  double group_rate(size_t group, int64_t step) const;
  bool due(size_t group, int64_t step) const;
  Tensor squares() const;  // of the gradients that clipping looks at; undefined: no clipping

  OptimConfig config_;
  int64_t steps_per_epoch_, total_steps_;
  std::vector<std::unique_ptr<UpdateRule>> rules_;  // a group's
  std::vector<Slot> slots_;
};

}  // namespace tidepool
