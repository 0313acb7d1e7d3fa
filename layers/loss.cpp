// Gradients are set, not added.
#include "layers/loss.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/lane_math.h"
#include "core/parallel.h"
#include "core/tape.h"

namespace tidepool {
namespace {

// Calls f with a value of the labels' type.
template <class F>
decltype(auto) dispatch_labels(const char* who, const Tensor& labels, F&& f) {
  if (labels.dtype() == DType::i64) return f(int64_t{});
  if (labels.dtype() == DType::i32) return f(int32_t{});
  throw Error("[{}] expected labels of i32 or i64, got {}", who, name_of(labels.dtype()));
}

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
  if (logits.device() != kCpu) throw Failure("{} on cuda is not supported", who);
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
  dispatch_labels(who, labels, [&]<class L>(L) {
    expect_shape(who, "labels", labels, labels_shape(logits));
    if (labels.device() != kCpu) throw Failure("{} on cuda is not supported", who);
    rows.label = labels.contiguous(MemoryFormat::plain);
    const L* label = rows.label.data<L>();
    for (int64_t i = 0; i < rows.n; ++i) {
      if (ignored && label[i] == *ignored) continue;
      ++rows.counted;
      if (label[i] < 0 || label[i] >= rows.classes)
        throw Error("[{}] label {} at index {} is out of range: expected 0 to {}{}", who, label[i],
                    index_text(i, labels.shape()), rows.classes - 1,
                    ignored ? fmt::format(", or {}, which is ignored", *ignored) : "");
    }
  });
  rows.x = as_rows(logits);
  return rows;
}

// A label that no checked tensor holds, where none is ignored.
constexpr int64_t kNone = -1;

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

Tensor cross_entropy(const Tensor& logits, const Tensor& labels, double label_smoothing,
                     std::optional<int64_t> ignored) {
  const Rows rows = checked_rows("cross_entropy", logits, labels, ignored);
  if (!(label_smoothing >= 0.0 && label_smoothing <= 1.0))
    throw Error("[cross_entropy] expected a label smoothing in [0, 1], got {}", label_smoothing);
  const Tensor x = rows.x, label = rows.label;
  const int64_t n = rows.n, k = rows.classes, none = ignored.value_or(kNone);
  const DType sums = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const Tensor norm = Tensor::empty({n, 2}, {.dtype = sums});  // a row's maximum, log sum exp(x - maximum)
  const Tensor loss = Tensor::empty({}, {.dtype = sums});
  const Tensor losses = Tensor::empty({n}, {.dtype = DType::f64});
  dispatch_floating(x.dtype(), "cross_entropy", [&]<class T>(T) {
    dispatch_labels("cross_entropy", label, [&]<class L>(L) {
      using A = Acc<T>;
      const T* px = x.data<T>();
      const L* pl = label.data<L>();
      A* pn = norm.mutable_data<A>();
      double* out = losses.mutable_data<double>();
      parallel_rows(kCpu, n, k, 16, [=](int64_t i, int64_t, int64_t) {
        out[i] = 0;
        if (pl[i] == none) return;
        const T* row = px + i * k;
        const A most = row_max<A>(row, k);
        const double log_sum =
            std::log(row_sum<A>(row, k, [=]<class V>(V v) { return exp_lanes(v - splat<V>(most)); }));
        double value = (1.0 - label_smoothing) *
                       (log_sum - (static_cast<double>(static_cast<A>(row[pl[i]])) - static_cast<double>(most)));
        if (label_smoothing > 0.0) {
          double sum = 0;
          for (int64_t j = 0; j < k; ++j)
            sum += static_cast<double>(static_cast<A>(row[j])) - static_cast<double>(most);
          value += label_smoothing * (log_sum - sum / static_cast<double>(k));
        }
        pn[2 * i] = most;
        pn[2 * i + 1] = static_cast<A>(log_sum);
        out[i] = value;
      });
    });
  });
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += losses.data<double>()[i];
  const bool empty = ignored && rows.counted == 0;
  const auto count = static_cast<double>(empty ? 1 : rows.counted);
  loss.fill(sum / count);
  Tape::record(
      "cross_entropy", {logits}, {loss}, {x, label, norm}, [label_smoothing, count, none](BackwardContext& ctx) {
        const Tensor& saved = ctx.saved(0);
        const int64_t batch = ctx.saved(1).numel(), classes = saved.size(1);
        const double scale = ctx.dy().item() / count;
        ctx.dx(0) = Tensor::empty(saved.shape(), saved.options());
        dispatch_floating(saved.dtype(), "cross_entropy", [&]<class T>(T) {
          dispatch_labels("cross_entropy", ctx.saved(1), [&]<class L>(L) {
            using A = Acc<T>;
            const T* from = saved.data<T>();
            const L* pl = ctx.saved(1).data<L>();
            const A* pn = ctx.saved(2).data<A>();
            T* to = ctx.dx(0).mutable_data<T>();
            const A spread = static_cast<A>(scale * label_smoothing / static_cast<double>(classes));
            const A factor = static_cast<A>(scale), at_label = static_cast<A>(scale * (1.0 - label_smoothing));
            parallel_rows(kCpu, batch, classes, 16, [=](int64_t i, int64_t, int64_t) {
              const T* row = from + i * classes;
              T* gradient = to + i * classes;
              if (pl[i] == none) {
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
      });
  return loss;
}

int64_t correct_top(const Tensor& logits, const Tensor& labels, int64_t k) {
  if (logits.rank() != 2) throw Error("[correct_top] expected logits N x K, got the shape {}", logits.shape().str());
  if (k < 1) throw Error("[correct_top] expected k >= 1, got {}", k);
  const Rows rows = checked_rows("correct_top", logits, labels, {});
  const int64_t classes = rows.classes;
  int64_t correct = 0;
  dispatch_floating(rows.x.dtype(), "correct_top", [&]<class T>(T) {
    dispatch_labels("correct_top", rows.label, [&]<class L>(L) {
      using A = Acc<T>;
      for (int64_t i = 0; i < rows.n; ++i) {
        const T* row = rows.x.data<T>() + i * classes;
        const int64_t at = rows.label.data<L>()[i];
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
  return correct;
}

Tensor predicted_classes(const Tensor& logits) {
  check_logits("predicted_classes", logits);
  const Tensor x = as_rows(logits), classes = Tensor::empty(labels_shape(logits), {.dtype = DType::i32});
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
  return classes;
}

}  // namespace tidepool
