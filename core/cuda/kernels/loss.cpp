// The loss and what is counted of logits: a warp takes a row of logits. Sums are in f64, in the lanes' fixed order.
#include "core/backend/loss.h"

#include <cmath>

#include "core/cuda/block.h"
#include "core/cuda/host_copy.h"
#include "core/cuda/tables.h"

namespace tidepool::cuda {
namespace {

constexpr unsigned kWarp = 32, kWarps = 4;
constexpr unsigned kAll = 0xffffffffu;

template <class A>
__device__ A warp_sum(A v) {
  for (unsigned step = kWarp / 2; step > 0; step /= 2) v = v + __shfl_xor_sync(kAll, v, static_cast<int>(step));
  return v;
}

Grid warps_over(int64_t rows) {
  return {dim3(narrow((rows + kWarps - 1) / kWarps)), dim3(kWarp, kWarps)};
}

struct Counted {
  uint32_t counted, wrong;
};

// counts: labels that are not ignored; the index of the first wrong one, or n. One block.
template <class L>
__global__ void count_kernel(const L* labels, uint32_t n, int64_t classes, bool ignores, int64_t ignored,
                             Counted* counts) {
  TP_SHARED(uint32_t, parts, 32);
  TP_SHARED(uint32_t, firsts, 1024);
  uint32_t counted = 0, wrong = n;
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
    const int64_t label = labels[i];
    if (ignores && label == ignored) continue;
    ++counted;
    if (wrong == n && (label < 0 || label >= classes)) wrong = i;
  }
  firsts[threadIdx.x] = wrong;
  counted = block_sum(counted, parts);  // its barrier stands behind the stores too
  if (threadIdx.x > 0) return;
  for (unsigned t = 0; t < blockDim.x; ++t) wrong = firsts[t] < wrong ? firsts[t] : wrong;
  *counts = {counted, wrong};
}

template <class L>
LabelCounts count_on_host(const L* labels, int64_t n, int64_t classes, const std::optional<int64_t>& ignored) {
  LabelCounts counts;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t label = labels[i];
    if (ignored && label == *ignored) continue;
    ++counts.counted;
    if (counts.wrong < 0 && (label < 0 || label >= classes)) counts.wrong = i;
  }
  return counts;
}

bool count_labels(const Tensor& labels, int64_t classes, const std::optional<int64_t>& ignored, LabelCounts* counts) {
  const int64_t n = labels.numel();
  dispatch_labels("labels", labels, [&]<class L>(L) {
    if (const auto* here = static_cast<const L*>(host_copy(labels))) {  // a batch's: nobody waits
      *counts = count_on_host(here, n, classes, ignored);
      return;
    }
    const Tensor result = Tensor::empty({2}, {.dtype = DType::i32, .device = labels.device()});
    launch(count_kernel<L>, Grid(dim3(1), dim3(1024)), labels.data<L>(), narrow(n), classes, ignored.has_value(),
           ignored.value_or(0), static_cast<Counted*>(result.mutable_raw()));
    const std::vector<double> both = result.values();
    *counts = {.counted = static_cast<int64_t>(both[0]),
               .wrong = both[1] == static_cast<double>(n) ? -1 : static_cast<int64_t>(both[1])};
  });
  return true;
}

template <class T, class L>
__global__ void cross_entropy_kernel(const T* logits, const L* labels, uint32_t rows, uint32_t k, double smoothing,
                                     int64_t ignored, Acc<T>* constants, double* losses) {
  using A = Acc<T>;
  const uint32_t row = blockIdx.x * kWarps + threadIdx.y;
  if (row >= rows) return;  // the whole warp
  const int64_t label = labels[row];
  if (label == ignored) {
    if (threadIdx.x == 0) losses[row] = 0;
    return;
  }
  const T* const x = logits + size_t{row} * k;
  A most = value_of(x[0]);
  bool ordered = true;
  for (uint32_t j = threadIdx.x; j < k; j += kWarp) {
    const A v = value_of(x[j]);
    ordered = ordered && v == v;
    most = v > most ? v : most;
  }
  for (unsigned step = kWarp / 2; step > 0; step /= 2) {
    const A other = __shfl_xor_sync(kAll, most, static_cast<int>(step));
    most = other > most ? other : most;
  }
  if (warp_sum(ordered ? 0 : 1) > 0) most = static_cast<A>(NAN);
  double sum = 0, all = 0;
  for (uint32_t j = threadIdx.x; j < k; j += kWarp) {
    const A d = value_of(x[j]) - most;
    sum += static_cast<double>(std::exp(d));
    all += static_cast<double>(d);
  }
  sum = warp_sum(sum);
  all = warp_sum(all);
  if (threadIdx.x > 0) return;
  const double log_sum = log(sum);
  constants[2 * size_t{row}] = most;
  constants[2 * size_t{row} + 1] = static_cast<A>(log_sum);
  double loss = (1 - smoothing) * (log_sum - static_cast<double>(value_of(x[label]) - most));
  if (smoothing > 0) loss += smoothing * (log_sum - all / k);  // 0 times infinity is no number
  losses[row] = loss;
}

bool cross_entropy(const Tensor& logits, const Tensor& labels, const CrossEntropy& o, const Tensor& constants,
                   const Tensor& losses) {
  const int64_t rows = labels.numel();
  dispatch_floating(logits.dtype(), "cross_entropy", [&]<class T>(T) {
    dispatch_labels("cross_entropy", labels, [&]<class L>(L) {
      launch(cross_entropy_kernel<T, L>, warps_over(rows), logits.data<T>(), labels.data<L>(), narrow(rows),
             narrow(logits.size(1)), o.smoothing, o.ignored, constants.mutable_data<Acc<T>>(),
             losses.mutable_data<double>());
    });
  });
  return true;
}

template <class T, class L>
struct Backward {
  using A = Acc<T>;
  const T* logits;
  const L* labels;
  const A *constants, *dy;
  T* dx;
  double count, smoothing;
  int64_t ignored;
  uint32_t k;

  TP_HD void operator()(uint32_t i) const {
    const uint32_t row = i / k, j = i - row * k;
    const int64_t label = labels[row];
    A slope = 0;
    if (label != ignored)
      slope = std::exp(value_of(logits[i]) - constants[2 * size_t{row}] - constants[2 * size_t{row} + 1]) -
              static_cast<A>(smoothing / k) - (label == j ? static_cast<A>(1 - smoothing) : A{0});
    dx[i] = rounded<T>(static_cast<A>(static_cast<double>(*dy) / count) * slope);
  }
};

bool cross_entropy_backward(const Tensor& logits, const Tensor& labels, const CrossEntropy& o, const Tensor& constants,
                            const Tensor& dy, double count, const Tensor& dx) {
  dispatch_floating(logits.dtype(), "cross_entropy", [&]<class T>(T) {
    dispatch_labels("cross_entropy", labels, [&]<class L>(L) {
      using A = Acc<T>;
      launch_each(logits.numel(),
                  Backward<T, L>{logits.data<T>(), labels.data<L>(), constants.data<A>(), dy.data<A>(),
                                 dx.mutable_data<T>(), count, o.smoothing, o.ignored, narrow(logits.size(1))});
    });
  });
  return true;
}

// correct [row]: 1 where the label ranks among the first `top` classes.
template <class T, class L>
__global__ void correct_kernel(const T* logits, const L* labels, uint32_t rows, uint32_t k, int64_t top,
                               int32_t* correct) {
  const uint32_t row = blockIdx.x * kWarps + threadIdx.y;
  if (row >= rows) return;
  const T* const x = logits + size_t{row} * k;
  const int64_t label = labels[row];
  const Acc<T> own = value_of(x[label]);
  int32_t before = 0, strange = 0;
  for (uint32_t j = threadIdx.x; j < k; j += kWarp) {
    const Acc<T> v = value_of(x[j]);
    strange += v != v;
    before += v > own || (v == own && j < label);
  }
  before = warp_sum(before);
  strange = warp_sum(strange);
  if (threadIdx.x == 0) correct[row] = strange == 0 && before < top;
}

bool correct_top(const Tensor& logits, const Tensor& labels, int64_t k, int64_t* result) {
  const int64_t rows = labels.numel();
  const Tensor correct = Tensor::empty({rows}, {.dtype = DType::i32, .device = logits.device()});
  dispatch_floating(logits.dtype(), "correct_top", [&]<class T>(T) {
    dispatch_labels("correct_top", labels, [&]<class L>(L) {
      launch(correct_kernel<T, L>, warps_over(rows), logits.data<T>(), labels.data<L>(), narrow(rows),
             narrow(logits.size(1)), k, correct.mutable_data<int32_t>());
    });
  });
  *result = 0;
  for (const double one : correct.values()) *result += static_cast<int64_t>(one);
  return true;
}

template <class T>
__global__ void predict_kernel(const T* logits, uint32_t rows, uint32_t k, int32_t* classes) {
  using A = Acc<T>;
  const uint32_t row = blockIdx.x * kWarps + threadIdx.y;
  if (row >= rows) return;
  const T* const x = logits + size_t{row} * k;
  A most = -static_cast<A>(INFINITY);
  uint32_t best = k;
  int32_t strange = 0;
  for (uint32_t j = threadIdx.x; j < k; j += kWarp) {
    const A v = value_of(x[j]);
    strange += v != v;
    if (best == k || v > most) {
      most = v;
      best = j;
    }
  }
  for (unsigned step = kWarp / 2; step > 0; step /= 2) {
    const A v = __shfl_xor_sync(kAll, most, static_cast<int>(step));
    const uint32_t j = __shfl_xor_sync(kAll, best, static_cast<int>(step));
    if (j < k && (best == k || v > most || (v == most && j < best))) {
      most = v;
      best = j;
    }
  }
  strange = warp_sum(strange);
  if (threadIdx.x == 0) classes[row] = strange > 0 ? -1 : static_cast<int32_t>(best);
}

bool predicted_classes(const Tensor& logits, const Tensor& classes) {
  const int64_t rows = classes.numel();
  dispatch_floating(logits.dtype(), "predicted_classes", [&]<class T>(T) {
    launch(predict_kernel<T>, warps_over(rows), logits.data<T>(), narrow(rows), narrow(logits.size(1)),
           classes.mutable_data<int32_t>());
  });
  return true;
}

}  // namespace

const LossTable kLoss{.name = "kernels",
                      .count_labels = count_labels,
                      .cross_entropy = cross_entropy,
                      .cross_entropy_backward = cross_entropy_backward,
                      .correct_top = correct_top,
                      .predicted_classes = predicted_classes};

}  // namespace tidepool::cuda
