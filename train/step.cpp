#include "train/step.h"

#include <cmath>

#include "core/backend/reduction.h"
#include "layers/loss.h"

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

void add_gmacs_gradient(const Trace& trace, double lambda) {
  for (const Slope& s : trace.gmacs_gradient()) {
    Tensor grad = s.parameter.grad();
    grad = grad ? grad.clone() : Tensor::zeros(s.parameter.shape(), s.parameter.options());
    const Tensor one = grad.slice(0, s.element, 1);
    one.fill(one.item() + lambda * s.value);
    s.parameter.set_grad(grad);
  }
}

StepLosses Stepper::gradients(const TensorBatch& batch, int64_t step) {
  Tensor loss;
  {
    const Tape::Scope scope(&tape_);
    try {
      const Tensor logits =
          network_.forward(batch.images, {.training = true, .seed = seed_, .step = static_cast<uint64_t>(step)});
      loss = cross_entropy(logits, batch.labels, loss_.label_smoothing);
    } catch (const Error& e) {
      if (step == 0) throw;  // wrong from the start; later it is what the network has learned
      throw Failure("step {}: {}", step + 1, e.what());
    }
  }
  const Trace trace = network_.trace();
  StepLosses losses{.task = loss.item(), .gmacs = trace.gmacs(), .total = 0};
  losses.total = losses.task + loss_.gmacs_lambda * losses.gmacs;
  if (!std::isfinite(losses.total)) explain(batch, step, losses.task);
  if (after_forward) after_forward(tape_);
  tape_.backward(loss);
  if (loss_.gmacs_lambda != 0) add_gmacs_gradient(trace, loss_.gmacs_lambda);
  return losses;
}

StepLosses Stepper::step(const TensorBatch& batch, int64_t step) {
  const StepLosses losses = gradients(batch, step);
  if (after_backward) after_backward();
  end_span("other");
  optimizer_.step(step);
  try {
    network_.project();
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
    const Tensor logits = network_.forward(
        batch.images, {.training = true, .seed = seed_, .step = static_cast<uint64_t>(step), .fuse = false});
    cross_entropy(logits, batch.labels, loss_.label_smoothing);
    where = watch.where.empty() ? "no layer when run again" : "the layer " + watch.where;
  }
  throw Failure("step {}: the loss is {}; the first value that is not finite stood in {}", step + 1, loss, where);
}

Evaluation evaluate(Network& network, Loader& loader, Tensor* logits, int64_t images,
                    const std::function<bool()>& stop) {
  network.project();
  const Tape::Scope none(nullptr);
  const DType dtype = network.options().dtype;
  Evaluation sum;
  if (logits)
    *logits =
        Tensor::empty({images, network.options().classes}, {.dtype = dtype == DType::f64 ? DType::f64 : DType::f32});
  Batch batch;
  loader.start_epoch(0);
  while (!(stop && stop()) && loader.next(batch)) {
    const TensorBatch tensors = to_tensors(batch, dtype);
    const Tensor y = network.forward(tensors.images, {.training = false});
    const auto n = static_cast<double>(batch.n);
    sum.loss += cross_entropy(y, tensors.labels, 0.0).item() * n;
    sum.top1 += static_cast<double>(correct_top(y, tensors.labels, 1));
    sum.top5 += static_cast<double>(correct_top(y, tensors.labels, 5));
    if (logits) logits->slice(0, sum.images, batch.n).copy_from(y);
    sum.images += batch.n;
  }
  if (sum.images > 0) {
    const auto n = static_cast<double>(sum.images);
    sum.loss /= n;
    sum.top1 /= n;
    sum.top5 /= n;
  }
  return sum;
}

}  // namespace tidepool
