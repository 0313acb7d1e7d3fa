#include "train/replayed_step.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/backend/elementwise.h"
#include "core/observer.h"
#include "core/tape.h"

namespace tidepool {

ReplayedStep::ReplayedStep(const Network& network, ForwardMode mode, const Tensor& images, const MemoryPool& pool)
    : images_(Tensor::empty(images.shape(), images.options())),
      counter_(Tensor::empty({1}, {.dtype = DType::i64, .device = images.device()})) {
  for (const Buffer& b : network.buffers()) buffers_.push_back(b.value);
  mode.counter = counter_;
  Tape tape;
  forward_.emplace(pool, [&] {
    const Tape::Scope scope(&tape);
    output_ = network.forward(images_, mode);
  });
  dy_ = Tensor::empty(output_.shape(), output_.options());
  const auto take_gradients = [&] {
    gradients_.clear();
    for (const Parameter& p : network.parameters()) {
      if (p.value.grad()) gradients_.emplace_back(p.value, p.value.grad());
      p.value.set_grad({});
    }
  };
  try {
    backward_.emplace(pool, [&] { tape.backward(output_, dy_); });
  } catch (...) {
    take_gradients();  // nobody computes them
    throw;
  }
  take_gradients();
}

Tensor ReplayedStep::forward(const Tensor& images, uint64_t step) const {
  images_.copy_from(images);
  counter_.fill(static_cast<double>(step));
  forward_->replay();
  for (const Tensor& b : buffers_) b.mutable_raw();  // a version: they have been written
  output_.mutable_raw();
  const Tensor y = output_.slice(0, 0, output_.size(0));  // without its history
  return y.set_requires_grad();
}

void ReplayedStep::backward(const Tensor& dy) const {
  dy_.copy_from(dy);
  backward_->replay();
  for (const auto& [parameter, gradient] : gradients_) {
    gradient.mutable_raw();
    parameter.set_grad(parameter.grad() ? add(parameter.grad(), gradient) : gradient);
  }
}

ReplayedSteps::ReplayedSteps(const Network& network) : network_(network) {
  const auto fixed = [](const Parameter& p) {
    return p.kind != ParameterKind::shape && p.kind != ParameterKind::number;
  };
  const auto& nodes = network.graph().nodes;
  if (can_record(network.options().device) && std::ranges::all_of(network.parameters(), fixed) &&
      std::ranges::none_of(nodes, [](const Node& node) { return node.op && node.op->needs_step(); }))
    pool_ = std::make_unique<MemoryPool>();
}

const ReplayedStep* ReplayedSteps::find(const Tensor& images, const ForwardMode& mode) {
  if (!pool_ || Observer::current()) return nullptr;  // which sees no layer of what is replayed
  std::vector<int64_t> key;
  for (int i = 0; i < images.rank(); ++i) key.push_back(images.size(i));
  if (!shapes_.contains(key) && shapes_.size() == kMost) return nullptr;
  Shape& shape = shapes_[key];
  if (!shape.replayed) {
    const auto& parameters = network_.parameters();
    const bool holds_gradients =
        std::ranges::any_of(parameters, [](const Parameter& p) { return bool(p.value.grad()); });
    if (shape.steps++ < kBefore || holds_gradients) return nullptr;
    Allocator::of(images.device()).trim();  // what these steps used is the recording's from now on
    try {
      shape.replayed = std::make_unique<ReplayedStep>(network_, mode, images, *pool_);
    } catch (const Failure& e) {
      spdlog::warn("cuda_graph: steps are not replayed: {}", e.what());
      shapes_.clear();
      pool_.reset();
      return nullptr;
    }
  }
  return shape.replayed.get();
}

}  // namespace tidepool
