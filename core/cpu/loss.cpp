#include <cmath>

#include "core/cpu/tables.h"
#include "core/lane_math.h"
#include "core/parallel.h"

namespace tidepool {
namespace {

// Sum over a row of f(value), lanes first and then in their order.
template <class A, class T, class F>
double row_sum(const T* row, int64_t count, const F& f) {
  double sum = 0;
  each_lane<A>(0, count, [&]<class V>(int64_t i) {
    const V v = f.template operator()<V>(load<V>(row + i));
    if constexpr (kLanes<V> == 1) {
      sum += static_cast<double>(v);
    } else {
      for (int l = 0; l < kLanes<V>; ++l) sum += static_cast<double>(v[l]);
    }
  });
  return sum;
}

// NaN when any element is.
template <class A, class T>
A row_max(const T* row, int64_t count) {
  A most = static_cast<A>(row[0]);
  for (int64_t i = 1; i < count; ++i) most = max_nan(most, static_cast<A>(row[i]));
  return most;
}

bool cross_entropy(const Tensor& x, const Tensor& label, double label_smoothing, const Tensor& norm,
                   const Tensor& rows) {
  const int64_t n = x.size(0), k = x.size(1);
  dispatch_floating(x.dtype(), "cross_entropy", [&]<class T>(T) {
    using A = Acc<T>;
    const T* px = x.data<T>();
    const int64_t* pl = label.data<int64_t>();
    double *pn = norm.mutable_data<double>(), *out = rows.mutable_data<double>();
    parallel_rows(kCpu, n, k, 16, [=](int64_t i, int64_t, int64_t) {
      const T* row = px + i * k;
      const A most = row_max<A>(row, k);
      const double log_sum = std::log(row_sum<A>(row, k, [=]<class V>(V v) { return exp_lanes(v - splat<V>(most)); }));
      double value = (1.0 - label_smoothing) *
                     (log_sum - (static_cast<double>(static_cast<A>(row[pl[i]])) - static_cast<double>(most)));
      if (label_smoothing > 0.0) {
        double sum = 0;
        for (int64_t j = 0; j < k; ++j) sum += static_cast<double>(static_cast<A>(row[j])) - static_cast<double>(most);
        value += label_smoothing * (log_sum - sum / static_cast<double>(k));
      }
      pn[2 * i] = static_cast<double>(most);
      pn[2 * i + 1] = log_sum;
      out[i] = value;
    });
  });
  return true;
}

bool cross_entropy_gradient(const Tensor& x, const Tensor& label, double label_smoothing, const Tensor& norm,
                            double scale, const Tensor& dx) {
  const int64_t batch = x.size(0), classes = x.size(1);
  dispatch_floating(x.dtype(), "cross_entropy", [&]<class T>(T) {
    using A = Acc<T>;
    const T* from = x.data<T>();
    const int64_t* pl = label.data<int64_t>();
    const double* pn = norm.data<double>();
    T* to = dx.mutable_data<T>();
    const A spread = static_cast<A>(scale * label_smoothing / static_cast<double>(classes));
    const A factor = static_cast<A>(scale), at_label = static_cast<A>(scale * (1.0 - label_smoothing));
    parallel_rows(kCpu, batch, classes, 16, [=](int64_t i, int64_t, int64_t) {
      const T* row = from + i * classes;
      const A most = static_cast<A>(pn[2 * i]), log_sum = static_cast<A>(pn[2 * i + 1]);
      each_lane<A>(0, classes, [&]<class V>(int64_t j) {
        const V probability = exp_lanes((load<V>(row + j) - splat<V>(most)) - splat<V>(log_sum));
        store(to + i * classes + j, probability * splat<V>(factor) - splat<V>(spread));
      });
      const A probability = exp_lanes((static_cast<A>(row[pl[i]]) - most) - log_sum);  // again: rounded once
      to[i * classes + pl[i]] = static_cast<T>((probability * factor - spread) - at_label);
    });
  });
  return true;
}

}  // namespace

// Labels are few: the reference reads them.
const LossTable cpu::kLoss{.name = "vector loops",
                           .find_wrong_label = nullptr,
                           .cross_entropy = cross_entropy,
                           .cross_entropy_backward = cross_entropy_gradient,
                           .correct_top = nullptr};

}  // namespace tidepool
