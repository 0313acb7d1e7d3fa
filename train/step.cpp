#include "train/step.h"

#include <cmath>

#include "core/backend/reduction.h"

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

}  // namespace

Stepper::Stepper(Network& network, const Task& task, Optimizer& optimizer, const LossConfig& loss, uint64_t seed)
    : network_(network),
      task_(task),
      optimizer_(optimizer),
      gmacs_(loss, network.trace().gmacs()),
      shapes_(network, task, optimizer, seed),
      seed_(seed) {}

StepLosses Stepper::gradients(const TensorBatch& batch, int64_t step) {
  Tensor loss;
  try {
    shapes_.begin(step);
    const Tape::Scope scope(&tape_);
    const Tensor output =
        network_.forward(batch.images, {.training = true, .seed = seed_, .step = static_cast<uint64_t>(step)});
    loss = task_.loss(output, batch.labels);
  } catch (const Error& e) {
    if (step == 0) throw;  // wrong from the start; later it is what the network has learned
    throw Failure("step {}: {}", step + 1, e.what());
  }
  StepLosses losses{.task = loss.item()};
  if (!std::isfinite(losses.task)) explain(batch, step, losses.task);
  if (after_forward) after_forward(tape_);
  tape_.backward(loss);
  shapes_.end(batch, step, losses.task);
  const Trace trace = network_.trace();  // of the mean sizes
  losses.gmacs = trace.gmacs();
  losses.penalty = losses.gmacs / gmacs_.unit();
  losses.factor = gmacs_.factor();
  losses.total = losses.task + losses.factor * losses.penalty;
  if (losses.factor != 0) add_gmacs_gradient(trace, losses.factor / gmacs_.unit());
  return losses;
}

StepLosses Stepper::step(const TensorBatch& batch, int64_t step) {
  const StepLosses losses = gradients(batch, step);
  if (after_backward) after_backward();
  end_span("other");
  optimizer_.step(step);
  try {
    network_.project();
    if (shapes_.moves(step)) gmacs_.sizes_moved(network_, optimizer_, step);
  } catch (const Error& e) {
    throw Failure("step {}: after the update: {}", step + 1, e.what());
  }
  end_span("optimizer");
  return losses;
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
    const Tensor output = network_.forward(
        batch.images, {.training = true, .seed = seed_, .step = static_cast<uint64_t>(step), .fuse = false});
    task_.loss(output, batch.labels);
    where = watch.where.empty() ? "no layer when run again" : "the layer " + watch.where;
  }
  throw Failure("step {}: the loss is {}; the first value that is not finite stood in {}", step + 1, loss, where);
}

Evaluation evaluate(Network& network, const Task& task, Loader& loader, Predictions* predictions,
                    const std::function<bool()>& stop) {
  network.project();
  const Tape::Scope none(nullptr);
  const std::unique_ptr<Evaluator> evaluator = task.evaluator();
  TensorBatch batch;
  loader.start_epoch(0);
  while (!(stop && stop()) && loader.next(batch)) {
    const Tensor output = network.forward(batch.images, {.training = false});
    evaluator->add(output, batch.labels);
    if (predictions) predictions->add(output, batch.labels);
  }
  if (predictions) predictions->finish();
  return evaluator->result();
}

}  // namespace tidepool
