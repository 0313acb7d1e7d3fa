// Optimizers with parameter groups. They update the f32 (f64) master weights in place.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "layers/parameter.h"
#include "train/config.h"

namespace tidepool {

/// True when `name` fits the glob: * any characters, ? one.
bool glob_match(const std::string& pattern, const std::string& name);

/// SGD with (Nesterov) momentum as torch.optim.SGD defines it, or AdamW (Loshchilov & Hutter, ICLR 2019).
class Optimizer {
 public:
  /// Warns of a group that matches no parameter.
  Optimizer(const OptimConfig& config, const std::vector<Parameter>& parameters, int64_t steps_per_epoch,
            int64_t total_steps);

  /// Updates every parameter that has a gradient from it, as of step `step` (from 0), and drops the gradients.
  void step(int64_t step);
  /// The learning rate of the parameters that are in no group.
  double learning_rate(int64_t step) const;

  /// The state's tensors by name ("features.0.weight/momentum"), for a checkpoint; writing into them restores it.
  std::vector<std::pair<std::string, Tensor>> state() const;

 private:
  struct Slot {
    Parameter parameter;
    int group = -1;  // -1: none
    double weight_decay = 0;
    Tensor first, second;  // momentum; or the two moments of AdamW
  };
  double group_rate(const Slot& slot, int64_t step) const;
  bool due(const Slot& slot, int64_t step) const;
  double clip_scale() const;

  OptimConfig config_;
  int64_t steps_per_epoch_, total_steps_;
  std::vector<Slot> slots_;
};

}  // namespace tidepool
