// An exponential moving average of a network's state (Polyak & Juditsky 1992; the form of timm's ModelEma).
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace tidepool {

class MovingAverage {
 public:
  using State = std::vector<std::pair<std::string, Tensor>>;

  /// Starts as a copy of `state`, whose tensors it follows.
  MovingAverage(State state, double decay);
  /// average = decay * average + (1 - decay) * current, parameters and running statistics alike.
  /// `go`: as in UpdateStep.
  void update(const Tensor& go = {});
  /// Exchanges the averages with the network's values; a second call exchanges them back.
  void swap();
  const State& average() const { return average_; }

 private:
  State current_, average_;
  std::vector<Tensor> current_tensors_, average_tensors_;
  double decay_;
};

}  // namespace tidepool
