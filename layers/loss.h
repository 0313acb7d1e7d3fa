// The loss, and what is counted right.
#pragma once
#include <optional>

#include "core/tensor.h"

namespace tidepool {

/// Softmax cross-entropy, mean over the labels, as torch.nn.functional.cross_entropy: with e = label_smoothing,
/// sum over k of -((1 - e) [k = label] + e / K) log softmax(logits)_k. One fused operator; the softmax is not kept.
/// logits [N, K] or [N, K, spatial], labels i64 or i32 [N] or [N, spatial] in [0, K). A label equal to `ignored` counts
/// neither in the sum nor in the mean, and its logits get the gradient 0, whatever they are; where every label is
/// ignored, the loss is 0 (torch: NaN). The result is a scalar, f32 (f64 for f64 logits), summed in f64; NaN for N = 0
/// without `ignored`, as in torch. Throws Error("[cross_entropy] ...").
Tensor cross_entropy(const Tensor& logits, const Tensor& labels, double label_smoothing = 0.0,
                     std::optional<int64_t> ignored = {});

/// How many rows of logits [N, K] have their label among the k classes that rank first: larger logits first, of equal
/// ones the lower index. With k = 1 that is one prediction per row, the first index of the largest logit. A row with
/// NaN counts as wrong.
int64_t correct_top(const Tensor& logits, const Tensor& labels, int64_t k);

/// The index of the largest logit at each position, the lower one of equal ones; -1 where a logit is NaN. logits [N, K]
/// or [N, K, spatial] -> i32 [N] or [N, spatial]. Keeps no history.
Tensor predicted_classes(const Tensor& logits);

}  // namespace tidepool
