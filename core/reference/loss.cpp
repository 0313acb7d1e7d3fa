#include "core/backend/loss.h"

#include <algorithm>
#include <cmath>

#include "core/reference/elements.h"
#include "core/reference/tables.h"

namespace tidepool::reference {
namespace {

bool find_wrong_label(const Tensor& labels, int64_t classes, int64_t* wrong) {
  const int64_t *label = labels.data<int64_t>(), step = labels.strides()[0];
  *wrong = -1;
  for (int64_t i = labels.size(0) - 1; i >= 0; --i)
    if (label[i * step] < 0 || label[i * step] >= classes) *wrong = i;
  return true;
}

bool cross_entropy(const Tensor& logits, const Tensor& labels, double smoothing, const Tensor& constants,
                   const Tensor& losses) {
  const int64_t n = logits.size(0), k = logits.size(1);
  const Elements x(logits), label(labels);
  const Results constant(constants), loss(losses);
  for (int64_t i = 0; i < n; ++i) {
    double most = x[i * k], sum = 0, all = 0;
    for (int64_t j = 1; j < k; ++j) most = std::isnan(x[i * k + j]) ? x[i * k + j] : std::max(most, x[i * k + j]);
    for (int64_t j = 0; j < k; ++j) sum += std::exp(x[i * k + j] - most);
    for (int64_t j = 0; j < k; ++j) all += x[i * k + j] - most;
    const double own = x[i * k + static_cast<int64_t>(label[i])] - most, log_sum = std::log(sum);
    constant.set(2 * i, most);
    constant.set(2 * i + 1, log_sum);
    loss.set(i, (1 - smoothing) * (log_sum - own) + smoothing * (log_sum - all / static_cast<double>(k)));
  }
  return true;
}

bool cross_entropy_backward(const Tensor& logits, const Tensor& labels, double smoothing, const Tensor& constants,
                            double scale, const Tensor& d) {
  const int64_t n = logits.size(0), k = logits.size(1);
  const Elements x(logits), label(labels), constant(constants);
  const Results out(d);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < k; ++j) {
      const double probability = std::exp(x[i * k + j] - constant[2 * i] - constant[2 * i + 1]);
      const double target =
          smoothing / static_cast<double>(k) + (static_cast<int64_t>(label[i]) == j ? 1 - smoothing : 0);
      out.set(i * k + j, scale * (probability - target));
    }
  return true;
}

bool correct_top(const Tensor& x, const Tensor& label, int64_t k, int64_t* result) {
  const int64_t classes = x.size(1);
  int64_t correct = 0;
  dispatch_floating(x.dtype(), "correct_top", [&]<class T>(T) {
    using A = Acc<T>;
    for (int64_t i = 0; i < x.size(0); ++i) {
      const T* row = x.data<T>() + i * classes;
      const int64_t at = label.data<int64_t>()[i];
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
  *result = correct;
  return true;
}

}  // namespace

const LossTable kLoss{.name = "reference",
                      .find_wrong_label = find_wrong_label,
                      .cross_entropy = cross_entropy,
                      .cross_entropy_backward = cross_entropy_backward,
                      .correct_top = correct_top};

}  // namespace tidepool::reference
