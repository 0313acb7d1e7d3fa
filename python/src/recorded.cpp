#include "python/src/recorded.h"

#include <algorithm>
#include <optional>

#include "core/keep_tapes.h"

namespace tidepool::python {

Recorded::Recorded(std::shared_ptr<const PoolOperator> op, const Tensor& x, std::span<const Tensor> tensors,
                   const PoolMode& mode, const std::vector<bool>& needs)
    : op_(std::move(op)) {
  if (needs.size() != 1 + tensors.size())
    throw Error("expected to be told of {} tensors whether they want a gradient, got {}", 1 + tensors.size(),
                needs.size());
  inputs_.reserve(needs.size());  // nodes point at them
  const Tape::Scope recording(&tape_);
  for (size_t i = 0; i < needs.size(); ++i) {
    if (!needs[i]) continue;
    const Tensor& t = i == 0 ? x : tensors[i - 1];
    inputs_.push_back({t.shape(), t.options(), {}});
    Tape::record("input", {Tensor::empty({1}).set_requires_grad()}, {t}, {},
                 [to = &inputs_.back().gradient](BackwardContext& ctx) { *to = ctx.dy(); });
  }
  y_ = op_->forward(x, tensors, mode);
  output_ = {y_.shape(), y_.options(), {}, Tensor::zeros({1})};
  depends_ = Tape::wants({y_});
  Tape::record("output", {y_}, {output_.end}, {},
               [from = &output_.gradient](BackwardContext& ctx) { ctx.dx(0) = *from; });
}

std::vector<Tensor> Recorded::backward(const Tensor& dy, bool keep) {
  const std::lock_guard lock(mutex_);
  if (spent_) throw Failure("backward: what this forward kept is gone after a backward that did not keep it");
  expect_shape("backward", "dy", dy, output_.shape);
  if (dy.dtype() != output_.options.dtype)
    throw Error("[backward] dy: expected elements of {}, got {}", name_of(output_.options.dtype), name_of(dy.dtype()));
  if (dy.device() != output_.options.device)
    throw Error("[backward] dy: expected it on {}, got it on {}", name_of(output_.options.device),
                name_of(dy.device()));
  if (depends_) {
    std::optional<KeepTapes> kept;
    if (keep) kept.emplace();
    spent_ = !keep;
    output_.gradient = dy;
    tape_.backward(output_.end);
    output_.gradient = {};
  }
  std::vector<Tensor> gradients;
  for (Input& input : inputs_) {
    Tensor g = std::exchange(input.gradient, {});
    g = g ? g.to(input.options.dtype).contiguous(input.options.format) : Tensor::zeros(input.shape, input.options);
    gradients.push_back(g.shares_storage(dy) ? g.clone() : g);
  }
  return gradients;
}

}  // namespace tidepool::python
