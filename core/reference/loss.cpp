#include "core/backend/loss.h"

#include <algorithm>
#include <cmath>

#include "core/reference/elements.h"
#include "core/reference/tables.h"

namespace tidepool::reference {
namespace {

bool count_labels(const Tensor& labels, int64_t classes, const std::optional<int64_t>& ignored, LabelCounts* counts) {
  *counts = {};
  dispatch_labels("labels", labels, [&]<class L>(L) {
    const L* label = labels.data<L>();
    for (int64_t i = 0; i < labels.numel(); ++i) {
      if (ignored && label[i] == *ignored) continue;
      ++counts->counted;
      if (counts->wrong < 0 && (label[i] < 0 || label[i] >= classes)) counts->wrong = i;
    }
  });
  return true;
}

// Logits by row and class.
struct Rows {
  int64_t k, positions;
  explicit Rows(const Tensor& x) : k(x.size(1)), positions(x.numel() / std::max<int64_t>(1, x.size(0) * x.size(1))) {}
  int64_t at(int64_t row, int64_t j) const { return (row / positions * k + j) * positions + row % positions; }
};

bool cross_entropy(const Tensor& logits, const Tensor& labels, const CrossEntropy& o, const Tensor& constants,
                   const Tensor& losses) {
  const Rows rows(logits);
  const int64_t k = rows.k;
  const Elements x(logits), label(labels);
  const Results constant(constants), loss(losses);
  for (int64_t i = 0; i < label.size(); ++i) {
    const auto own = static_cast<int64_t>(label[i]);
    loss.set(i, 0);
    if (own == o.ignored) continue;
    double most = x[rows.at(i, 0)], sum = 0, all = 0;
    for (int64_t j = 1; j < k; ++j) {
      const double v = x[rows.at(i, j)];
      most = std::isnan(v) ? v : std::max(most, v);
    }
    for (int64_t j = 0; j < k; ++j) {
      sum += std::exp(x[rows.at(i, j)] - most);
      all += x[rows.at(i, j)] - most;
    }
    const double log_sum = std::log(sum);
    constant.set(2 * i, most);
    constant.set(2 * i + 1, log_sum);
    double value = (1 - o.smoothing) * (log_sum - (x[rows.at(i, own)] - most));
    if (o.smoothing > 0) value += o.smoothing * (log_sum - all / static_cast<double>(k));  // 0 times infinity: NaN
    loss.set(i, value);
  }
  return true;
}

bool cross_entropy_backward(const Tensor& logits, const Tensor& labels, const CrossEntropy& o, const Tensor& constants,
                            const Tensor& dy, double count, const Tensor& dx) {
  const double scale = dy.item() / count;
  const Rows rows(logits);
  const Elements x(logits), label(labels), constant(constants);
  const Results out(dx);
  for (int64_t i = 0; i < label.size(); ++i)
    for (int64_t j = 0; j < rows.k; ++j) {
      const auto own = static_cast<int64_t>(label[i]);
      double slope = 0;
      if (own != o.ignored)
        slope = std::exp(x[rows.at(i, j)] - constant[2 * i] - constant[2 * i + 1]) -
                o.smoothing / static_cast<double>(rows.k) - (own == j ? 1 - o.smoothing : 0);
      out.set(rows.at(i, j), scale * slope);
    }
  return true;
}

bool correct_top(const Tensor& x, const Tensor& label, int64_t k, int64_t* result) {
  const int64_t classes = x.size(1);
  int64_t correct = 0;
  dispatch_floating(x.dtype(), "correct_top", [&]<class T>(T) {
    dispatch_labels("correct_top", label, [&]<class L>(L) {
      using A = Acc<T>;
      for (int64_t i = 0; i < label.numel(); ++i) {
        const T* row = x.data<T>() + i * classes;
        const int64_t at = label.data<L>()[i];
        const A own = static_cast<A>(row[at]);
        int64_t before = 0;
        bool ordered = true;
        for (int64_t j = 0; j < classes; ++j) {
          const A v = static_cast<A>(row[j]);
          ordered = ordered && v == v;
          before += v > own || (v == own && j < at);
        }
        correct += ordered && before < k;
      }
    });
  });
  *result = correct;
  return true;
}

bool predicted_classes(const Tensor& logits, const Tensor& classes) {
  const Rows rows(logits);
  const Elements x(logits);
  const Results out(classes);
  for (int64_t i = 0; i < out.size(); ++i) {
    int64_t best = 0;
    bool ordered = true;
    for (int64_t j = 0; j < rows.k; ++j) {
      ordered = ordered && !std::isnan(x[rows.at(i, j)]);
      if (x[rows.at(i, j)] > x[rows.at(i, best)]) best = j;
    }
    out.set(i, ordered ? static_cast<double>(best) : -1);
  }
  return true;
}

}  // namespace

const LossTable kLoss{.name = "reference",
                      .count_labels = count_labels,
                      .cross_entropy = cross_entropy,
                      .cross_entropy_backward = cross_entropy_backward,
                      .correct_top = correct_top,
                      .predicted_classes = predicted_classes};

}  // namespace tidepool::reference
