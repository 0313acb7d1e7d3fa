#include "train/shape_learning.h"

#include <algorithm>
#include <chrono>

#include "core/tape.h"
#include "models/name_seed.h"

namespace tidepool {
namespace {

constexpr double kLeastRows = 0.5;  // rounds to the least length, 1

void set_element(const LearnedSize& size, double value) {
  std::vector<double> values = size.value.values();
  values[static_cast<size_t>(size.element)] = value;
  size.value.copy_from(
      Tensor::from<double>(std::span<const double>(values), size.value.shape()).to(size.value.dtype()));
}

// Batch norms' running statistics, as they were when this was made.
class KeptBuffers {
 public:
  explicit KeptBuffers(const Network& network) {
    for (const Buffer& b : network.buffers()) kept_.emplace_back(b.value, b.value.clone());
  }
  ~KeptBuffers() {
    for (const auto& [buffer, value] : kept_) buffer.copy_from(value);
  }
  KeptBuffers(const KeptBuffers&) = delete;
  KeptBuffers& operator=(const KeptBuffers&) = delete;

 private:
  std::vector<std::pair<Tensor, Tensor>> kept_;
};

class NetworkProbe final : public ShapeProbe {
 public:
  NetworkProbe(Network& network, const Task& task, const TensorBatch& batch, uint64_t seed, int64_t step,
               std::span<const LearnedSize> learning, std::span<const double> drawn, double drawn_loss)
      : network_(network),
        task_(task),
        batch_(batch),
        seed_(seed),
        step_(step),
        learning_(learning),
        drawn_(drawn),
        drawn_loss_(drawn_loss) {}

  size_t sizes() const override { return learning_.size(); }
  std::span<const double> drawn() const override { return drawn_; }
  double drawn_loss() const override { return drawn_loss_; }
  double loss(std::span<double> rows) override {
    SizeChange change(network_);
    const std::vector<double> left = change.apply(learning_, rows);
    std::copy(left.begin(), left.end(), rows.begin());
    ++forwards;
    return batch_loss(network_, task_, batch_, seed_, step_);
  }

  int64_t forwards = 0;

 private:
  Network& network_;
  const Task& task_;
  const TensorBatch& batch_;
  uint64_t seed_;
  int64_t step_;
  std::span<const LearnedSize> learning_;
  std::span<const double> drawn_;
  double drawn_loss_;
};

// Draws of a learner are those of (seed, step): one stream says at which sizes a step trains, the other belongs to its
// estimate.
Random draws_of(uint64_t seed, int64_t step, bool estimate) {
  return {seed ^ name_seed("optim.shape.learner"), 2 * static_cast<uint64_t>(step) + (estimate ? 1 : 0)};
}

}  // namespace

double moved_by_rows(const LearnedSize& size, double rows) {
  const double value = size.at();
  if (size.slope < 0 && value > 0) {
    const double length = -size.slope * value;
    return value * length / std::max(length + rows, std::min(length, kLeastRows));
  }
  return value + rows / size.slope;
}

double rows_between(const LearnedSize& size, double from, double to) {
  if (size.slope < 0 && from > 0) return -size.slope * from * (from / to - 1);
  return (to - from) * size.slope;
}

void SizeChange::keep() {
  kept_.clear();
  for (const Parameter& p : network_.parameters())
    if (p.kind == ParameterKind::shape) kept_.emplace_back(p.value, p.value.clone());
}

void SizeChange::restore() {
  for (const auto& [parameter, value] : kept_) parameter.copy_from(value);
}

std::vector<double> SizeChange::apply(std::span<const LearnedSize> sizes, std::span<const double> rows) {
  restore();
  std::vector<double> before, after, left;
  for (size_t i = 0; i < sizes.size(); ++i) {
    before.push_back(sizes[i].at());
    after.push_back(moved_by_rows(sizes[i], rows[i]));
  }
  for (size_t i = 0; i < sizes.size(); ++i) set_element(sizes[i], after[i]);
  network_.project();
  for (size_t i = 0; i < sizes.size(); ++i) left.push_back(rows_between(sizes[i], before[i], sizes[i].at()));
  return left;
}

double batch_loss(const Network& network, const Task& task, const TensorBatch& batch, uint64_t seed, int64_t step) {
  const KeptBuffers kept(network);
  const Tape::Scope none(nullptr);
  const Tensor output =
      network.forward(batch.images, {.training = true, .seed = seed, .step = static_cast<uint64_t>(step)});
  return task.loss(output, batch.labels).item();
}

ShapeLearning::ShapeLearning(Network& network, const Task& task, const Optimizer& optimizer, uint64_t seed)
    : network_(network), task_(task), optimizer_(optimizer), seed_(seed) {
  const ShapeLearnerConfig config = optimizer.config().shape.value_or(ShapeSettings()).learner;
  learner_ = find_shape_learner(config.type).make(config.options);
  if (learner_->uses_backward()) return;
  for (const LearnedSize& size : network.learned_sizes()) {
    if (size.slope == 0)
      throw Error(
          "optim.shape.learner: {} moves sizes by rows, and the length that {} decides has no slope in it; expected an "
          "operator whose length has one, as dynopool, diffstride, or shape_adaptor with \"grad\": "
          "\"straight_through\"",
          config.type, size.parameter);
    size.value.set_requires_grad(false);  // the backward pass need not compute what nobody reads
  }
}

std::vector<LearnedSize> ShapeLearning::learning(int64_t step) const {
  std::vector<LearnedSize> sizes = network_.learned_sizes();
  // A size without a slope, of a shape_adaptor that is at its end, cannot be moved by rows.
  std::erase_if(sizes,
                [&](const LearnedSize& s) { return s.slope == 0 || optimizer_.turn(s.value, step) == Turn::still; });
  return sizes;
}

bool ShapeLearning::moves(int64_t step) const {
  const auto& all = network_.parameters();
  return std::any_of(all.begin(), all.end(), [&](const Parameter& p) {
    return p.kind == ParameterKind::shape && optimizer_.turn(p.value, step) == Turn::moves;
  });
}

void ShapeLearning::begin(int64_t step) {
  forwards_ = 0;
  seconds_ = 0;
  estimated_ = learner_->uses_backward();
  if (estimated_) return;
  sizes_ = learning(step);
  rows_.assign(sizes_.size(), 0);
  Random random = draws_of(seed_, step, false);
  learner_->draw(random, rows_);
  if (std::all_of(rows_.begin(), rows_.end(), [](double r) { return r == 0; })) return;
  drawn_ = std::make_unique<SizeChange>(network_);
  drawn_->apply(sizes_, rows_);
}

void ShapeLearning::end(const TensorBatch& batch, int64_t step, double drawn_loss) {
  drawn_.reset();
  if (learner_->uses_backward() || sizes_.empty() || !moves(step)) return;
  const auto begin = std::chrono::steady_clock::now();
  Random random = draws_of(seed_, step, true);
  NetworkProbe probe(network_, task_, batch, seed_, step, sizes_, rows_, drawn_loss);
  const std::vector<double> gradient = learner_->estimate(probe, random);
  for (const Parameter& p : network_.parameters()) {
    if (p.kind != ParameterKind::shape || optimizer_.turn(p.value, step) != Turn::moves) continue;
    std::vector<double> of(static_cast<size_t>(p.value.numel()));
    for (size_t i = 0; i < sizes_.size(); ++i)
      if (sizes_[i].value.shares_storage(p.value))
        of[static_cast<size_t>(sizes_[i].element)] = gradient[i] * sizes_[i].slope;
    p.value.set_grad(Tensor::from<double>(std::span<const double>(of), p.value.shape()).to(p.value.dtype()));
  }
  estimated_ = true;
  forwards_ = probe.forwards;
  seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace tidepool
