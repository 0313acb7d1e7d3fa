#include "train/ema.h"

#include "core/backend/update.h"

namespace tidepool {

MovingAverage::MovingAverage(State state, double decay) : current_(std::move(state)), decay_(decay) {
  for (const auto& [name, value] : current_) average_.emplace_back(name, value.clone());
}

void MovingAverage::update() {
  for (size_t i = 0; i < current_.size(); ++i) moving_average_update(current_[i].second, decay_, average_[i].second);
}

void MovingAverage::swap() {
  for (size_t i = 0; i < current_.size(); ++i) {
    const Tensor kept = current_[i].second.clone();
    current_[i].second.copy_from(average_[i].second);
    average_[i].second.copy_from(kept);
  }
}

}  // namespace tidepool
