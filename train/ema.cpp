#include "train/ema.h"

#include "core/parallel.h"

namespace tidepool {

MovingAverage::MovingAverage(State state, double decay) : current_(std::move(state)), decay_(decay) {
  for (const auto& [name, value] : current_) average_.emplace_back(name, value.clone());
}

void MovingAverage::update() {
  for (size_t i = 0; i < current_.size(); ++i) {
    const Tensor &now = current_[i].second, &mean = average_[i].second;
    dispatch_floating(now.dtype(), "ema", [&]<class T>(T) {
      using A = Acc<T>;
      const T* from = now.data<T>();
      T* to = mean.mutable_data<T>();
      const A keep = static_cast<A>(decay_), take = static_cast<A>(1 - decay_);
      parallel_chunks(now.numel(), 16384, [&](int64_t begin, int64_t end) {
        for (int64_t j = begin; j < end; ++j)
          to[j] = static_cast<T>(keep * static_cast<A>(to[j]) + take * static_cast<A>(from[j]));
      });
    });
  }
}

void MovingAverage::swap() {
  for (size_t i = 0; i < current_.size(); ++i) {
    const Tensor kept = current_[i].second.clone();
    current_[i].second.copy_from(average_[i].second);
    average_[i].second.copy_from(kept);
  }
}

}  // namespace tidepool
