// The loss and what is counted of logits. Nothing is recorded here. Logits [n, K] and labels [n] are dense; labels have
// been checked. A row's constants are [n, 2] f64: the largest logit, and log sum exp(logit - largest).
#pragma once
#include <cstdint>

#include "core/backend/table.h"

namespace tidepool {

struct LossTable {
  const char* name;
  /// *wrong: the first label that is not in [0, classes); -1: none. labels [n], strided.
  bool (*find_wrong_label)(const Tensor& labels, int64_t classes, int64_t* wrong);
  /// losses f64 [n]: with e = smoothing, sum over k of -((1 - e) [k = label] + e / K) log softmax(logits)_k; constants
  /// too are set.
  bool (*cross_entropy)(const Tensor& logits, const Tensor& labels, double smoothing, const Tensor& constants,
                        const Tensor& losses);
  /// d of scale times the sum of the losses.
  bool (*cross_entropy_backward)(const Tensor& logits, const Tensor& labels, double smoothing, const Tensor& constants,
                                 double scale, const Tensor& d);
  /// *correct: rows whose label is among the k classes that rank first.
  bool (*correct_top)(const Tensor& logits, const Tensor& labels, int64_t k, int64_t* correct);
};

namespace backend {
template <>
std::span<const LossTable* const> tables<LossTable>(Device device);
}

inline void cross_entropy_forward(const Tensor& logits, const Tensor& labels, double smoothing, const Tensor& constants,
                                  const Tensor& losses) {
  backend::run("cross_entropy", &LossTable::cross_entropy, logits, labels, smoothing, constants, losses);
}
inline void cross_entropy_backward(const Tensor& logits, const Tensor& labels, double smoothing,
                                   const Tensor& constants, double scale, const Tensor& d) {
  backend::run("cross_entropy", &LossTable::cross_entropy_backward, logits, labels, smoothing, constants, scale, d);
}

}  // namespace tidepool
