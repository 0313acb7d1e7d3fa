// The loss and the count of right answers.
#pragma once
#include "core/tensor.h"

namespace tidepool {

/// Softmax cross-entropy, mean over the batch, as torch.nn.functional.cross_entropy: with e = label_smoothing,
/// sum over k of -((1 - e) [k = label] + e / K) log softmax(logits)_k. One fused operator; the softmax is not kept.
/// logits [N, K], labels i32 or i64 [N] in [0, K); the result is a scalar, f32 (f64 for f64 logits), NaN for N = 0 as
/// in torch. Throws Error("[cross_entropy] ...").
Tensor cross_entropy(const Tensor& logits, const Tensor& labels, double label_smoothing = 0.0);

/// How many rows have their label among the k classes that rank first: larger logits first, of equal ones the lower
/// index. With k = 1 that is one prediction per row, the first index of the largest logit. A row with NaN counts as
/// wrong.
int64_t correct_top(const Tensor& logits, const Tensor& labels, int64_t k);

}  // namespace tidepool
