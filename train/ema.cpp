#include "train/ema.h"

#include "core/backend/update.h"

namespace tidepool {

MovingAverage::MovingAverage(State state, double decay) : current_(std::move(state)), decay_(decay) {
  for (const auto& [name, value] : current_) {
    average_.emplace_back(name, value.clone());
    current_tensors_.push_back(value);
    average_tensors_.push_back(average_.back().second);
  }
}

void MovingAverage::update(const Tensor& go) {
  moving_average_update(current_tensors_, decay_, average_tensors_, go);
}

void MovingAverage::swap() {
  for (size_t i = 0; i < current_.size(); ++i) {
    const Tensor kept = current_[i].second.clone();
    current_[i].second.copy_from(average_[i].second);
    average_[i].second.copy_from(kept);
  }
}

}  // namespace tidepool
