// One training step: forward, loss, backward, update. And its counterpart, evaluation.
#pragma once
#include <cstdint>
#include <functional>

#include "core/tape.h"
#include "data/loader.h"
#include "models/network.h"
#include "train/optimizer.h"
#include "train/setup.h"

namespace tidepool {

struct StepLosses {
  double task = 0;   ///< cross-entropy, mean of the batch
  double gmacs = 0;  ///< the GMACs term, before its factor lambda
  double total = 0;  ///< task + lambda * gmacs
};

class Stepper {
 public:
  /// All three outlive the stepper.
  Stepper(Network& network, Optimizer& optimizer, const LossConfig& loss, uint64_t seed)
      : network_(network), optimizer_(optimizer), loss_(loss), seed_(seed) {}

  /// Step number `step` (from 0) on a batch; its losses are those before the update. Throws Failure when the loss is
  /// not finite, naming the step (from 1) and the layer in which the first non-finite value stood; nothing is updated
  /// then. Failure too when a learned size has become one that a layer cannot take, or a learned number is not finite
  /// after the update.
  StepLosses step(const TensorBatch& batch, int64_t step);
  /// Forward and backward alone: gradients are left in the parameters.
  StepLosses gradients(const TensorBatch& batch, int64_t step);

  /// Called between backward and update.
  std::function<void()> after_backward;
  /// Called between forward and backward, when the tape holds everything that is kept.
  std::function<void(const Tape&)> after_forward;

 private:
  [[noreturn]] void explain(const TensorBatch& batch, int64_t step, double loss);

  Network& network_;
  Optimizer& optimizer_;
  LossConfig loss_;
  uint64_t seed_;
  Tape tape_;
};

/// Adds lambda * d gmacs / d parameter to the gradients of the shape parameters.
void add_gmacs_gradient(const Trace& trace, double lambda);

struct Evaluation {
  double top1 = 0, top5 = 0;  ///< 0 to 1
  double loss = 0;            ///< mean cross-entropy, no smoothing
  int64_t images = 0;
};

/// Runs the network in evaluation mode over a whole loader (made with training = false); projects its parameters first:
/// an average of legal ones need not be legal. `logits`, when given, is
/// filled with (images, classes) in the data set's order, f32 (f64 in an f64 network). Stops early, with what it has,
/// when stop() is true.
Evaluation evaluate(Network& network, Loader& loader, Tensor* logits = nullptr, int64_t images = 0,
                    const std::function<bool()>& stop = {});

}  // namespace tidepool
