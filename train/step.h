// One training step: forward, loss, backward, update. And its counterpart, evaluation.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "core/backend/upload.h"
#include "core/communicator.h"
#include "core/tape.h"
#include "data/loader.h"
#include "models/network.h"
#include "train/gmacs_term.h"
#include "train/gradient_buckets.h"
#include "train/optimizer.h"
#include "train/replayed_step.h"
#include "train/setup.h"
#include "train/shape_learning.h"
#include "train/task.h"

namespace tidepool {

struct StepLosses {
  double task = 0;     ///< the task's
  double gmacs = 0;    ///< multiply-adds of one image / 1e9
  double penalty = 0;  ///< the same in the unit of loss.gmacs_unit, or over the budget: the term before its factor
  double factor = 0;   ///< lambda, or the multiplier of a budget
  double total = 0;    ///< task + factor * penalty
  /// The task's loss on a device for which the host would wait: `task` and `total` are not known before
  /// Stepper::read_losses(). Undefined: they are.
  Tensor pending{};
};

class Stepper {
 public:
  /// Network, task, optimizer and ranks outlive the stepper. What the network costs now is its cost at step 0. Throws
  /// Error where the optimizer's learner of shapes does not fit the network's operators, or several ranks.
  ///
  /// With `ranks`, a step is that of all of them: losses and gradients are the means over the whole batch, of which
  /// each has a part (LoaderOptions::ranks). Batch norms take the statistics of a rank's own images, and random masks
  /// are a rank's own.
  Stepper(Network& network, const Task& task, Optimizer& optimizer, const LossConfig& loss, uint64_t seed,
          Communicator* ranks = nullptr);

  /// Step number `step` (from 0) on a batch; its losses are those before the update. Throws Failure when the loss is
  /// not finite, naming the step (from 1) and the layer in which the first non-finite value stood; nothing is updated
  /// then. Failure too when a learned size has become one that a layer cannot take, or a learned parameter is not
  /// finite after the update. On a device for which the host would wait, losses are pending, nothing is updated from
  /// the step of a non-finite loss on, and what is wrong after an update is thrown by the next step or settle().
  StepLosses step(const TensorBatch& batch, int64_t step);
  /// Brings parameters into their bounds, where the last step left that to the next one. To be called before anything
  /// else reads the network.
  void settle();
  /// Waits for pending losses of steps `first` and on, and sets them. Throws Failure naming the step whose loss is not
  /// finite.
  void read_losses(std::span<StepLosses* const> losses, int64_t first);
  /// Forward and backward alone: gradients are left in the parameters.
  StepLosses gradients(const TensorBatch& batch, int64_t step);

  GmacsTerm& gmacs_term() { return gmacs_; }
  const ShapeLearning& shapes() const { return shapes_; }

  /// Whether nothing was updated since a loss was not finite; i32 [1]. Undefined: no loss was ever pending.
  const Tensor& go() const { return go_; }

  /// Called behind the backward pass, when gradients are those of the task's loss alone.
  std::function<void()> after_backward;
  /// Called after each update, once the parameters are in their bounds: where the step leaves that to the next one or
  /// to settle(), there.
  std::function<void()> after_update;
  /// Called between forward and backward, when the tape holds everything that is kept.
  std::function<void(const Tape&)> after_forward;

 private:
  [[noreturn]] void explain(const TensorBatch& batch, int64_t step, double loss);
  StepLosses made_step(const TensorBatch& batch, int64_t step);
  ForwardMode mode(int64_t step) const;
  Tensor mean_over_ranks(const Tensor& loss, double share) const;
  void project(int64_t step);

  Network& network_;
  const Task& task_;
  Optimizer& optimizer_;
  GmacsTerm gmacs_;
  ShapeLearning shapes_;
  uint64_t seed_;        // of this rank's masks
  Communicator* ranks_;  // null: there are no others
  std::optional<GradientBuckets> buckets_;
  ReplayedSteps replayed_;
  Tape tape_;
  Tensor go_;                         // i32 [1], of pending losses: 0 once one was not finite
  std::vector<Tensor> read_soon_;     // parameters that decide sizes, or that forwards check
  std::optional<int64_t> unsettled_;  // the step after whose update nothing has been projected yet
};

/// A batch on the device.
TensorBatch uploaded(Upload& upload, const TensorBatch& batch);

/// Runs the network in evaluation mode over a whole loader (made with training = false); projects its parameters first:
/// an average of legal ones need not be legal. `predictions`, when given, gets every batch, and is finished. Stops
/// early, with what it has, when stop() is true.
Evaluation evaluate(Network& network, const Task& task, Loader& loader, Predictions* predictions = nullptr,
                    const std::function<bool()>& stop = {});

}  // namespace tidepool
