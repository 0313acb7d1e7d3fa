// Gradients are set, not added.
#include "layers/loss.h"

#include <string>
#include <vector>

#include "core/backend/elementwise.h"
#include "core/backend/loss.h"
#include "core/backend/reduction.h"
#include "core/tape.h"

namespace tidepool {
namespace {

// Logits and labels in memory row by row: K logits of one label after the other.
struct Rows {
  Tensor x, label;
  int64_t n = 0, classes = 0;
  int64_t counted = 0;  // labels that are not the ignored one
};

// "3", or "(0, 2, 5)" of a map.
std::string index_text(int64_t flat, const Dims& shape) {
  std::vector<int64_t> index(static_cast<size_t>(shape.rank()));
  for (int i = shape.rank() - 1; i >= 0; flat /= shape[i--]) index[static_cast<size_t>(i)] = flat % shape[i];
  return shape.rank() == 1 ? std::to_string(index[0]) : fmt::format("({})", fmt::join(index, ", "));
}

void check_logits(const char* who, const Tensor& logits) {
  if (logits.rank() < 2)
    throw Error("[{}] expected logits N x K or N x K x spatial, got the shape {}", who, logits.shape().str());
  if (!is_floating(logits.dtype()))
    throw Error("[{}] expected logits of f32, f64 or bf16, got {}", who, name_of(logits.dtype()));
}

// The shape of labels that belong to logits: without the axis of classes.
Dims labels_shape(const Tensor& logits) {
  Dims shape = Dims::filled(logits.rank() - 1, logits.size(0));
  for (int i = 2; i < logits.rank(); ++i) shape[i - 1] = logits.size(i);
  return shape;
}

Tensor as_rows(const Tensor& logits) {
  return logits.contiguous(logits.rank() > 2 ? MemoryFormat::channels_last : MemoryFormat::plain);
}

Rows checked_rows(const char* who, const Tensor& logits, const Tensor& labels, std::optional<int64_t> ignored) {
  check_logits(who, logits);
  Rows rows{.x = {}, .label = {}, .n = labels_shape(logits).product(), .classes = logits.size(1)};
  if (labels.dtype() != DType::i64 && labels.dtype() != DType::i32)
    throw Error("[{}] expected labels of i32 or i64, got {}", who, name_of(labels.dtype()));
  expect_shape(who, "labels", labels, labels_shape(logits));
  rows.label = labels.contiguous(MemoryFormat::plain);
  LabelCounts counts;
  backend::run(who, &LossTable::count_labels, rows.label, rows.classes, ignored, &counts);
  rows.counted = counts.counted;
  if (counts.wrong >= 0)
    throw Error("[{}] label {} at index {} is out of range: expected 0 to {}{}", who,
                static_cast<int64_t>(rows.label.reshape({rows.n}).slice(0, counts.wrong, 1).item()),
                index_text(counts.wrong, labels.shape()), rows.classes - 1,
                ignored ? fmt::format(", or {}, which is ignored", *ignored) : "");
  rows.x = as_rows(logits);
  return rows;
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& labels, double label_smoothing,
                     std::optional<int64_t> ignored) {
  const Rows rows = checked_rows("cross_entropy", logits, labels, ignored);
  if (!(label_smoothing >= 0.0 && label_smoothing <= 1.0))
    throw Error("[cross_entropy] expected a label smoothing in [0, 1], got {}", label_smoothing);
  const Tensor x = rows.x, label = rows.label;
  const CrossEntropy o{.smoothing = label_smoothing, .ignored = ignored.value_or(kNoLabel)};
  const DType sums = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const Device device = x.device();
  const Tensor constants = Tensor::empty({rows.n, 2}, {.dtype = sums, .device = device});
  const Tensor loss = Tensor::empty({}, {.dtype = sums, .device = device});
  const Tensor losses = Tensor::empty({rows.n}, {.dtype = DType::f64, .device = device});
  backend::run("cross_entropy", &LossTable::cross_entropy, x, label, o, constants, losses);
  const Tensor sum = Tensor::empty({1}, {.dtype = DType::f64, .device = device});
  column_sums(losses.reshape({rows.n, 1}), sum);
  const bool empty = ignored && rows.counted == 0;
  const auto count = static_cast<double>(empty ? 1 : rows.counted);
  divide(sum, count, loss);
  Tape::record("cross_entropy", {logits}, {loss}, {x, label, constants}, [o, count](BackwardContext& ctx) {
    const Tensor& saved = ctx.saved(0);
    ctx.dx(0) = Tensor::empty(saved.shape(), saved.options());
    backend::run("cross_entropy", &LossTable::cross_entropy_backward, saved, ctx.saved(1), o, ctx.saved(2), ctx.dy(),
                 count, ctx.dx(0));
  });
  return loss;
}

int64_t correct_top(const Tensor& logits, const Tensor& labels, int64_t k) {
  if (logits.rank() != 2) throw Error("[correct_top] expected logits N x K, got the shape {}", logits.shape().str());
  if (k < 1) throw Error("[correct_top] expected k >= 1, got {}", k);
  const Rows rows = checked_rows("correct_top", logits, labels, {});
  int64_t correct = 0;
  backend::run("correct_top", &LossTable::correct_top, rows.x, rows.label, k, &correct);
  return correct;
}

Tensor predicted_classes(const Tensor& logits) {
  check_logits("predicted_classes", logits);
  const Tensor classes = Tensor::empty(labels_shape(logits), {.dtype = DType::i32, .device = logits.device()});
  backend::run("predicted_classes", &LossTable::predicted_classes, as_rows(logits), classes);
  return classes;
}

}  // namespace tidepool
