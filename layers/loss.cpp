// Gradients are set, not added.
#include "layers/loss.h"

#include <cmath>

#include "core/lane_math.h"
#include "core/parallel.h"
#include "core/tape.h"

namespace tidepool {
namespace {

void check_arguments(const char* who, const Tensor& logits, const Tensor& labels) {
  if (logits.rank() != 2) throw Error("[{}] expected logits N x K, got the shape {}", who, logits.shape().str());
  if (!is_floating(logits.dtype()))
    throw Error("[{}] expected logits of f32, f64 or bf16, got {}", who, name_of(logits.dtype()));
  if (labels.dtype() != DType::i32 && labels.dtype() != DType::i64)
    throw Error("[{}] expected labels of i32 or i64, got {}", who, name_of(labels.dtype()));
  expect_shape(who, "labels", labels, {logits.size(0)});
  if (logits.device() != kCpu || labels.device() != kCpu) throw Failure("{} on cuda is not supported", who);
  const Tensor wide = labels.to(DType::i64);
  const int64_t* label = wide.data<int64_t>();
  for (int64_t i = 0; i < labels.size(0); ++i)
    if (label[i * wide.strides()[0]] < 0 || label[i * wide.strides()[0]] >= logits.size(1))
      throw Error("[{}] label {} at index {} is out of range: expected 0 to {}", who, label[i * wide.strides()[0]], i,
                  logits.size(1) - 1);
}

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

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& labels, double label_smoothing) {
  check_arguments("cross_entropy", logits, labels);
  if (!(label_smoothing >= 0.0 && label_smoothing <= 1.0))
    throw Error("[cross_entropy] expected a label smoothing in [0, 1], got {}", label_smoothing);
  const int64_t n = logits.size(0), k = logits.size(1);
  const Tensor x = logits.contiguous(MemoryFormat::plain),
               label = labels.to(DType::i64).contiguous(MemoryFormat::plain);
  const Tensor norm = Tensor::empty({n, 2}, {.dtype = DType::f64});  // a row's maximum, log sum exp(x - maximum)
  const Tensor loss = Tensor::empty({}, {.dtype = x.dtype() == DType::f64 ? DType::f64 : DType::f32});
  const Tensor rows = Tensor::empty({n}, {.dtype = DType::f64});
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
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += rows.data<double>()[i];
  loss.fill(sum / static_cast<double>(n));
  Tape::record("cross_entropy", {logits}, {loss}, {x, label, norm}, [label_smoothing](BackwardContext& ctx) {
    const Tensor& px = ctx.saved(0);
    const int64_t batch = px.size(0), classes = px.size(1);
    const double scale = ctx.dy().item() / static_cast<double>(batch);
    ctx.dx(0) = Tensor::empty(px.shape(), px.options());
    dispatch_floating(px.dtype(), "cross_entropy", [&]<class T>(T) {
      using A = Acc<T>;
      const T* from = px.data<T>();
      const int64_t* pl = ctx.saved(1).data<int64_t>();
      const double* pn = ctx.saved(2).data<double>();
      T* to = ctx.dx(0).mutable_data<T>();
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
  });
  return loss;
}

int64_t correct_top(const Tensor& logits, const Tensor& labels, int64_t k) {
  check_arguments("correct_top", logits, labels);
  if (k < 1) throw Error("[correct_top] expected k >= 1, got {}", k);
  const Tensor x = logits.contiguous(MemoryFormat::plain),
               label = labels.to(DType::i64).contiguous(MemoryFormat::plain);
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
  return correct;
}

}  // namespace tidepool
