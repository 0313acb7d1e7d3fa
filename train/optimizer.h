// Parameter groups: which parameters an optimizer's update is for, at what rate and when. Updates are of the f32 (f64)
// master weights, in place; the optimizers themselves are in train/optimizers/.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "layers/parameter.h"
#include "train/config.h"
#include "train/optimizers/rule.h"

namespace tidepool {

/// True when `name` fits the glob: * any characters, ? one.
bool glob_match(const std::string& pattern, const std::string& name);

/// What a step does with a parameter.
enum class Turn {
  still,  ///< nothing: before its first epoch, after its last, or at rate 0
  waits,  ///< nothing, between two of its updates
  moves,
};

class Optimizer {
 public:
  /// Warns of a group that matches no parameter. Throws Error for a name that is no optimizer's, and where optim.shape
  /// asks for the logarithm of a parameter that is not positive.
  Optimizer(const OptimConfig& config, const std::vector<Parameter>& parameters, int64_t steps_per_epoch,
            int64_t total_steps);

  /// Of a run: warns of sizes that begin to move when it is over, and of warm-ups longer than what they belong to.
  void warn_of_schedules() const;
  /// Updates every parameter that has a gradient from it, as of step `step` (from 0), and drops the gradients. `go`: as
  /// in UpdateStep.
  void step(int64_t step, const Tensor& go = {});
  /// The learning rate of the parameters that are in no group.
  double learning_rate(int64_t step) const;
  /// Whether step `step` moves this parameter of the network.
  Turn turn(const Tensor& parameter, int64_t step) const;
  /// The step at which the second stage begins (optim.shape.retrain_after), in which shape parameters stay; none: there
  /// is one stage.
  std::optional<int64_t> second_stage() const { return second_stage_; }
  /// Forgets its state, as a second stage begins.
  void reset();
  const OptimConfig& config() const { return config_; }

  /// The state's tensors by name ("features.0.weight/momentum"), for a checkpoint; writing into them restores it.
  std::vector<std::pair<std::string, Tensor>> state() const;

 private:
  struct Slot {
    Parameter parameter;
    size_t group = 0;  // 0: none; else a place in the config's groups, from 1; behind them optim.shape
    size_t rule = 0;   // a place in rules_
    double weight_decay = 0;
    std::vector<Tensor> state;  // as the group's rule says
  };
  const GroupSettings* config_of(size_t group) const {
    if (group == 0) return nullptr;
    if (group <= config_.groups.size()) return &config_.groups[group - 1];
    return &*config_.shape;
  }
  // Steps count from the begin of their stage, whose schedules end with it.
  struct Stage {
    int64_t begin = 0, end = 0;
  };
  Stage stage(int64_t step) const;
  // The steps of a stage in which a group's parameters move: from the first to before the second.
  std::pair<int64_t, int64_t> span_of(size_t group, const Stage& stage) const;
  double group_rate(size_t group, int64_t step) const;
  Turn turn(const Slot& slot, int64_t step) const;   // at whatever rate
  bool moves(const Slot& slot, int64_t step) const;  // in this step, at a rate that is not 0 for a size
  // Of the gradients that clipping looks at, those of parameters that move; undefined: no clipping.
  Tensor squares(int64_t step) const;

  OptimConfig config_;
  int64_t steps_per_epoch_, total_steps_;
  std::optional<int64_t> second_stage_;
  std::vector<std::unique_ptr<UpdateRule>> rules_;  // a group's, then the same of its shape parameters
  std::vector<Slot> slots_;
};

}  // namespace tidepool
