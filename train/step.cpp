#include "train/step.h"

#include <cmath>

#include "core/backend/copy.h"
#include "core/backend/elementwise.h"
#include "core/backend/reduction.h"
#include "models/name_seed.h"

namespace tidepool {
namespace {

// Remembers the first operator whose output is not finite.
class FirstNonFinite final : public Observer {
 public:
  void output(const char* op, std::span<const Tensor> /*inputs*/, std::span<const Tensor> outputs) override {
    if (!where.empty()) return;
    for (const Tensor& y : outputs)
      if (!all_finite(y)) where = LayerScope::path().empty() ? op : fmt::format("{} ({})", LayerScope::path(), op);
  }
  std::string where;
};

// fmt writes the sign of a NaN, which says nothing.
std::string text_of(double loss) {
  return std::isnan(loss) ? "nan" : fmt::format("{}", loss);
}

}  // namespace

TensorBatch uploaded(Upload& upload, const TensorBatch& batch) {
  const Tensor both[] = {batch.images, batch.labels};
  const std::vector<Tensor> there = upload(both);
  return {.images = there[0], .labels = there[1], .n = batch.n, .share = batch.share, .indices = batch.indices};
}

Stepper::Stepper(Network& network, const Task& task, Optimizer& optimizer, const LossConfig& loss, uint64_t seed,
                 Communicator* ranks)
    : network_(network),
      task_(task),
      optimizer_(optimizer),
      gmacs_(loss, network.trace().gmacs()),
      shapes_(network, task, optimizer, seed),
      seed_(ranks && ranks->rank() > 0 ? seed ^ name_seed(fmt::format("rank {}", ranks->rank())) : seed),
      ranks_(ranks),
      replayed_(network) {
  if (ranks) {
    if (!shapes_.uses_backward())
      throw Error("optim.shape.learner: {} compares losses of one rank's images; expected \"gradient\" with {} ranks",
                  optimizer.config().shape->learner.type, ranks->ranks());
    buckets_.emplace(network.parameters(), *ranks);
  }
  for (const Parameter& p : network.parameters())
    if (p.kind == ParameterKind::shape || p.kind == ParameterKind::number) read_soon_.push_back(p.value);
}

ForwardMode Stepper::mode(int64_t step) const {
  return {.training = true, .seed = seed_, .step = static_cast<uint64_t>(step)};
}

Tensor Stepper::mean_over_ranks(const Tensor& loss, double share) const {
  const Tensor mean = Tensor::empty(loss.shape(), loss.options());
  divide(loss, 1 / share, mean);
  ranks_->all_reduce({&mean, 1});
  ranks_->wait();
  return mean;
}

StepLosses Stepper::gradients(const TensorBatch& batch, int64_t step) {
  settle();
  const ReplayedStep* replayed = nullptr;
  Tensor logits, own, loss;  // of a replayed step; the loss of this rank's images and of all
  try {
    shapes_.begin(step);
    if (!after_forward && !ranks_) replayed = replayed_.find(batch.images, mode(step));
    if (replayed) logits = replayed->forward(batch.images, static_cast<uint64_t>(step));
    const Tape::Scope scope(&tape_);
    own = task_.loss(replayed ? logits : network_.forward(batch.images, mode(step)), batch.labels);
  } catch (const Error& e) {
    if (step == 0) throw;  // wrong from the start; later it is what the network has learned
    throw Failure("step {}: {}", step + 1, e.what());
  }
  loss = ranks_ ? mean_over_ranks(own, batch.share) : own;
  StepLosses losses;
  if (reads_wait(loss) && shapes_.estimated()) {  // a learner that compares losses reads them at once
    if (!go_) go_ = Tensor::full({1}, 1, {.dtype = DType::i32, .device = loss.device()});
    clear_unless_finite(loss, go_);
    losses.pending = loss;
  } else {
    losses.task = loss.item();
    if (!std::isfinite(losses.task)) explain(batch, step, losses.task);
  }
  if (after_forward) after_forward(tape_);
  if (ranks_) {
    buckets_->begin();
    tape_.backward(own, Tensor::full(own.shape(), batch.share, own.options()),
                   [this](const Tensor& leaf) { buckets_->ready(leaf); });
    buckets_->finish();
  } else {
    tape_.backward(own);
  }
  if (replayed) replayed->backward(logits.grad());
  try {
    shapes_.end(batch, step, losses.task);
  } catch (const Error& e) {
    if (step == 0) throw;
    throw Failure("step {}: {}", step + 1, e.what());
  }
  const Trace trace = network_.trace();  // of the mean sizes
  losses.gmacs = trace.gmacs();
  losses.penalty = losses.gmacs / gmacs_.unit();
  losses.factor = gmacs_.factor();
  losses.total = losses.task + losses.factor * losses.penalty;
  if (after_backward) after_backward();
  if (losses.factor != 0) add_gmacs_gradient(trace, losses.factor / gmacs_.unit());
  return losses;
}

StepLosses Stepper::step(const TensorBatch& batch, int64_t step) {
  try {
    return made_step(batch, step);
  } catch (...) {  // so that another step may follow
    tape_.clear();
    for (const Parameter& p : network_.parameters()) p.value.set_grad({});
    throw;
  }
}

StepLosses Stepper::made_step(const TensorBatch& batch, int64_t step) {
  StepLosses losses = gradients(batch, step);
  end_span("other");
  optimizer_.step(step, go_);
  if (losses.pending) {
    expect_read(read_soon_);
    unsettled_ = step;
  } else {
    project(step);
  }
  end_span("optimizer");
  return losses;
}

void Stepper::settle() {
  if (!unsettled_) return;
  const int64_t step = *unsettled_;
  unsettled_.reset();
  project(step);
}

void Stepper::project(int64_t step) {
  try {
    network_.project();
    if (shapes_.moves(step)) gmacs_.sizes_moved(network_, optimizer_, step);
  } catch (const Error& e) {
    throw Failure("step {}: after the update: {}", step + 1, e.what());
  }
  if (after_update) after_update();
}

void Stepper::read_losses(std::span<StepLosses* const> losses, int64_t first) {
  std::vector<Tensor> pending;
  for (const StepLosses* each : losses)
    if (each->pending) pending.push_back(each->pending);
  expect_read(pending);
  for (size_t i = 0; i < losses.size(); ++i) {
    StepLosses& each = *losses[i];
    if (!each.pending) continue;
    each.task = each.pending.item();
    each.total = each.task + each.factor * each.penalty;
    each.pending = {};
    if (std::isfinite(each.total)) continue;
    for (const Parameter& p : network_.parameters())
      if (!all_finite(p.value))
        throw Failure("step {}: the loss is {}; the parameter {} is not finite", first + static_cast<int64_t>(i) + 1,
                      text_of(each.total), p.name);
    throw Failure("step {}: the loss is {}; the parameters stand as before that step",
                  first + static_cast<int64_t>(i) + 1, text_of(each.total));
  }
}

void Stepper::explain(const TensorBatch& batch, int64_t step, double loss) {
  tape_.clear();
  std::string where;
  if (!all_finite(batch.images)) where = "the images themselves";
  for (const Parameter& p : network_.parameters())
    if (where.empty() && !all_finite(p.value)) where = fmt::format("the parameter {}", p.name);
  if (where.empty()) {  // the same forward again, node by node: the parameters are still those that gave the loss
    FirstNonFinite watch;
    const Observer::Scope watching(&watch);
    ForwardMode plain = mode(step);
    plain.fuse = false;
    const Tensor output = network_.forward(batch.images, plain);
    task_.loss(output, batch.labels);
    where = watch.where.empty() ? "no layer when run again" : "the layer " + watch.where;
  }
  throw Failure("step {}: the loss is {}; the first value that is not finite stood in {}", step + 1, text_of(loss),
                where);
}

Evaluation evaluate(Network& network, const Task& task, Loader& loader, Predictions* predictions,
                    const std::function<bool()>& stop) {
  network.project();
  const Tape::Scope none(nullptr);
  const std::unique_ptr<Evaluator> evaluator = task.evaluator();
  TensorBatch batch;
  Upload upload(network.options().device);
  loader.start_epoch(0);
  bool stopped = false, any = false;
  while (!(stopped = stop && stop()) && loader.next(batch)) {
    any = true;
    const TensorBatch there = uploaded(upload, batch);
    const Tensor output = network.forward(there.images, {.training = false});
    evaluator->add(output, there.labels);
    if (predictions) predictions->add(output, there.labels, there.indices);
  }
  if (!any && !stopped) throw Error("data.damaged: none of the images to evaluate can be read");
  if (predictions) predictions->finish();
  return evaluator->result();
}

}  // namespace tidepool
