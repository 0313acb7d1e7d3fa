// Gradients are set, not added.
#include "layers/loss.h"

#include "core/backend/loss.h"
#include "core/tape.h"

namespace tidepool {
namespace {

void check_arguments(const char* who, const Tensor& logits, const Tensor& labels) {
  if (logits.rank() != 2) throw Error("[{}] expected logits N x K, got the shape {}", who, logits.shape().str());
  if (!is_floating(logits.dtype()))
    throw Error("[{}] expected logits of f32, f64 or bf16, got {}", who, name_of(logits.dtype()));
  if (labels.dtype() != DType::i64) throw Error("[{}] expected labels of i64, got {}", who, name_of(labels.dtype()));
  expect_shape(who, "labels", labels, {logits.size(0)});
  int64_t wrong = -1;
  backend::run(who, &LossTable::find_wrong_label, labels, logits.size(1), &wrong);
  if (wrong >= 0)
    throw Error("[{}] label {} at index {} is out of range: expected 0 to {}", who,
                static_cast<int64_t>(labels.slice(0, wrong, 1).item()), wrong, logits.size(1) - 1);
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& labels, double label_smoothing) {
  check_arguments("cross_entropy", logits, labels);
  if (!(label_smoothing >= 0.0 && label_smoothing <= 1.0))
    throw Error("[cross_entropy] expected a label smoothing in [0, 1], got {}", label_smoothing);
  const int64_t n = logits.size(0);
  const Tensor x = logits.contiguous(MemoryFormat::plain), label = labels.contiguous(MemoryFormat::plain);
  const Tensor norm =
      Tensor::empty({n, 2}, {.dtype = DType::f64, .device = x.device()});  // a row's maximum, log sum exp(x - maximum)
  const Tensor loss =
      Tensor::empty({}, {.dtype = x.dtype() == DType::f64 ? DType::f64 : DType::f32, .device = x.device()});
  const Tensor rows = Tensor::empty({n}, {.dtype = DType::f64, .device = x.device()});
  cross_entropy_forward(x, label, label_smoothing, norm, rows);
  double sum = 0;
  for (const double row : rows.values()) sum += row;
  loss.fill(sum / static_cast<double>(n));
  Tape::record("cross_entropy", {logits}, {loss}, {x, label, norm}, [label_smoothing](BackwardContext& ctx) {
    const Tensor& saved = ctx.saved(0);
    ctx.dx(0) = Tensor::empty(saved.shape(), saved.options());
    cross_entropy_backward(saved, ctx.saved(1), label_smoothing, ctx.saved(2),
                           ctx.dy().item() / static_cast<double>(saved.size(0)), ctx.dx(0));
  });
  return loss;
}

int64_t correct_top(const Tensor& logits, const Tensor& labels, int64_t k) {
  check_arguments("correct_top", logits, labels);
  if (k < 1) throw Error("[correct_top] expected k >= 1, got {}", k);
  const Tensor x = logits.contiguous(MemoryFormat::plain), label = labels.contiguous(MemoryFormat::plain);
  int64_t correct = 0;
  backend::run("correct_top", &LossTable::correct_top, x, label, k, &correct);
  return correct;
}

}  // namespace tidepool
