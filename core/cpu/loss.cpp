#include "core/backend/loss.h"

#include <algorithm>
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

bool cross_entropy(const Tensor& x, const Tensor& label, const CrossEntropy& o, const Tensor& norm,
                   const Tensor& losses) {
  const int64_t n = label.numel(), k = x.size(1);
  dispatch_floating(x.dtype(), "cross_entropy", [&]<class T>(T) {
    dispatch_labels("cross_entropy", label, [&]<class L>(L) {
      using A = Acc<T>;
      const T* px = x.data<T>();
      const L* pl = label.data<L>();
      A* pn = norm.mutable_data<A>();
      double* out = losses.mutable_data<double>();
      parallel_rows(kCpu, n, k, 16, [=](int64_t i, int64_t, int64_t) {
        out[i] = 0;
        if (pl[i] == o.ignored) return;
        const T* row = px + i * k;
        const A most = row_max<A>(row, k);
        const double log_sum =
            std::log(row_sum<A>(row, k, [=]<class V>(V v) { return exp_lanes(v - splat<V>(most)); }));
        double value = (1.0 - o.smoothing) *
                       (log_sum - (static_cast<double>(static_cast<A>(row[pl[i]])) - static_cast<double>(most)));
        if (o.smoothing > 0.0) {
          double sum = 0;
          for (int64_t j = 0; j < k; ++j)
            sum += static_cast<double>(static_cast<A>(row[j])) - static_cast<double>(most);
          value += o.smoothing * (log_sum - sum / static_cast<double>(k));
        }
        pn[2 * i] = most;
        pn[2 * i + 1] = static_cast<A>(log_sum);
        out[i] = value;
      });
    });
  });
  return true;
}

bool cross_entropy_gradient(const Tensor& x, const Tensor& label, const CrossEntropy& o, const Tensor& norm,
                            const Tensor& dy, double count, const Tensor& dx) {
  const double scale = dy.item() / count;
  const int64_t batch = label.numel(), classes = x.size(1);
  dispatch_floating(x.dtype(), "cross_entropy", [&]<class T>(T) {
    dispatch_labels("cross_entropy", label, [&]<class L>(L) {
      using A = Acc<T>;
      const T* from = x.data<T>();
      const L* pl = label.data<L>();
      const A* pn = norm.data<A>();
      T* to = dx.mutable_data<T>();
      const A spread = static_cast<A>(scale * o.smoothing / static_cast<double>(classes));
      const A factor = static_cast<A>(scale), at_label = static_cast<A>(scale * (1.0 - o.smoothing));
      parallel_rows(kCpu, batch, classes, 16, [=](int64_t i, int64_t, int64_t) {
        const T* row = from + i * classes;
        T* gradient = to + i * classes;
        if (pl[i] == o.ignored) {
          std::fill(gradient, gradient + classes, T{});
          return;
        }
        const A most = pn[2 * i], log_sum = pn[2 * i + 1];
        each_lane<A>(0, classes, [&]<class V>(int64_t j) {
          const V probability = exp_lanes((load<V>(row + j) - splat<V>(most)) - splat<V>(log_sum));
          store(gradient + j, probability * splat<V>(factor) - splat<V>(spread));
        });
        const A probability = exp_lanes((static_cast<A>(row[pl[i]]) - most) - log_sum);  // again: rounded once
        gradient[pl[i]] = static_cast<T>((probability * factor - spread) - at_label);
      });
    });
  });
  return true;
}

bool predicted_classes(const Tensor& x, const Tensor& classes) {
  const int64_t k = x.size(1);
  dispatch_floating(x.dtype(), "predicted_classes", [&]<class T>(T) {
    using A = Acc<T>;
    const T* px = x.data<T>();
    int32_t* out = classes.mutable_data<int32_t>();
    parallel_rows(kCpu, classes.numel(), k, 2, [=](int64_t i, int64_t, int64_t) {
      const T* row = px + i * k;
      int32_t best = 0;
      bool ordered = true;
      for (int32_t j = 0; j < k; ++j) {
        const A v = static_cast<A>(row[j]);
        ordered = ordered && v == v;
        if (v > static_cast<A>(row[best])) best = j;
      }
      out[i] = ordered ? best : -1;
    });
  });
  return true;
}

}  // namespace

// Labels are few, and are read by the reference.
const LossTable cpu::kLoss{.name = "vector loops",
                           .count_labels = nullptr,
                           .cross_entropy = cross_entropy,
                           .cross_entropy_backward = cross_entropy_gradient,
                           .correct_top = nullptr,
                           .predicted_classes = predicted_classes};

}  // namespace tidepool
