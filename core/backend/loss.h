// The loss and what is counted of logits. Nothing is recorded here. Logits are n rows of K in memory: [N, K] plain, or
// [N, K, spatial] channels-last, a row per position. Labels, i64 or i32, are n numbers, dense and plain.
#pragma once
#include <cstdint>
#include <optional>

#include "core/backend/table.h"

namespace tidepool {

/// Calls f with a value of the labels' type.
template <class F>
decltype(auto) dispatch_labels(const char* who, const Tensor& labels, F&& f) {
  if (labels.dtype() == DType::i64) return f(int64_t{});
  if (labels.dtype() == DType::i32) return f(int32_t{});
  throw Error("[{}] expected labels of i32 or i64, got {}", who, name_of(labels.dtype()));
}

/// A label that no checked tensor holds.
inline constexpr int64_t kNoLabel = -1;

struct CrossEntropy {
  double smoothing = 0;
  int64_t ignored = kNoLabel;  ///< rows with this label have the loss 0 and no gradient
};

/// What the labels of a call are.
struct LabelCounts {
  int64_t counted = 0;  ///< that are not the ignored one
  int64_t wrong = -1;   ///< index of the first of them that is not in [0, classes)
};

struct LossTable {
  const char* name;
  bool (*count_labels)(const Tensor& labels, int64_t classes, const std::optional<int64_t>& ignored,
                       LabelCounts* counts);
  /// losses f64 [n]: with e = smoothing, sum over k of -((1 - e) [k = label] + e / K) log softmax(logits)_k. constants
  /// [n, 2], f32 (f64 of f64 logits): the largest logit of a row, and log sum exp(logit - largest); unset of ignored
  /// rows.
  bool (*cross_entropy)(const Tensor& logits, const Tensor& labels, const CrossEntropy& o, const Tensor& constants,
                        const Tensor& losses);
  /// dx of the sum of the losses over `count`, whose gradient is dy [1], of the constants' type.
  bool (*cross_entropy_backward)(const Tensor& logits, const Tensor& labels, const CrossEntropy& o,
                                 const Tensor& constants, const Tensor& dy, double count, const Tensor& dx);
  /// *correct: rows of [N, K] whose label is among the k classes that rank first: larger logits first, of equal ones
  /// the lower index; none with NaN.
  bool (*correct_top)(const Tensor& logits, const Tensor& labels, int64_t k, int64_t* correct);
  /// classes i32 [n]: the index of the largest logit, the lower one of equal ones; -1 where a logit is NaN.
  bool (*predicted_classes)(const Tensor& logits, const Tensor& classes);
};

namespace backend {
template <>
std::span<const LossTable* const> tables<LossTable>(Device device);
}

}  // namespace tidepool
