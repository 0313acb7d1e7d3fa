#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "core/cpu/tables.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/sums.h"

namespace tidepool {
namespace {

int64_t positions_of(const Tensor& x) {
  int64_t positions = 1;
  for (int i = 2; i < x.rank(); ++i) positions *= x.size(i);
  return positions;
}

// Mean of `count` vectors, `step` elements apart: runs are summed in f32, and joined in f64.
template <class V, class T>
TP_INLINE V mean(const T* p, int64_t count, int64_t step) {
  Doubles<V> total{};
  bool finite = true;
  for (int64_t run = 0; run < count; run += kSumRun) {
    V sum = {};
    for (int64_t i = run; i < std::min(count, run + kSumRun); ++i) sum = sum + load<V>(p + i * step);
    finite = finite && all_finite(sum);
    total = total + widen(sum);
  }
  if (!finite) {  // f32 may lack the range
    total = Doubles<V>{};
    for (int64_t i = 0; i < count; ++i) total = total + widen(load<V>(p + i * step));
  }
  return narrow<V>(total / static_cast<double>(count));
}

bool global_mean_of(const Tensor& x, const Tensor& y) {
  const int64_t channels = x.size(1), positions = positions_of(x);
  const bool last = x.format() == MemoryFormat::channels_last;
  dispatch_floating(x.dtype(), "global_avg", [&]<class T>(T) {
    using A = Acc<T>;
    const T* from = x.data<T>();
    T* to = y.mutable_data<T>();
    parallel_rows(kCpu, x.size(0), channels, positions, [=](int64_t n, int64_t first, int64_t lanes) {
      const T* map = from + n * channels * positions;
      if (last) {
        each_lane<A>(first, lanes,
                     [&]<class V>(int64_t c) { store(to + n * channels + c, mean<V>(map + c, positions, channels)); });
      } else {
        for (int64_t c = first; c < first + lanes; ++c)
          to[n * channels + c] = static_cast<T>(mean<A>(map + c * positions, positions, 1));
      }
    });
  });
  return true;
}

bool global_mean_gradient(const Tensor& dy, const Tensor& dx) {
  const Dims shape = dx.shape();
  const int64_t positions = positions_of(dx);
  const bool last = dx.format() == MemoryFormat::channels_last;
  dispatch_floating(dy.dtype(), "global_avg", [&]<class T>(T) {
    using A = Acc<T>;
    const T* from = dy.data<T>();
    T* to = dx.mutable_data<T>();
    const int64_t lanes = shape[1];
    const A count = static_cast<A>(positions);
    parallel_rows(kCpu, shape[0], lanes, positions, [=](int64_t n, int64_t first, int64_t some) {
      T* map = to + n * lanes * positions;
      for (int64_t c = first; c < first + some; ++c) {
        const T g = static_cast<T>(static_cast<A>(from[n * lanes + c]) / count);
        if (!last)
          for (int64_t i = 0; i < positions; ++i) map[c * positions + i] = g;
        else
          map[c] = g;
      }
      if (last)
        for (int64_t i = 1; i < positions; ++i)
          memcpy(map + i * lanes + first, map + first, sizeof(T) * static_cast<size_t>(some));
    });
  });
  return true;
}

bool sums_of_columns(const Tensor& x, const Tensor& sums) {
  const int64_t rows = x.size(0), columns = x.size(1);
  dispatch_floating(x.dtype(), "column_sums", [&]<class T>(T) {
    dispatch_floating(sums.dtype(), "column_sums", [&]<class U>(U) {
      const T* p = x.data<T>();
      U* out = sums.mutable_data<U>();
      parallel_chunks(columns, 64, [&](int64_t begin, int64_t end) {
        double sum[64] = {};
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = begin; j < end; ++j)
            sum[j - begin] += static_cast<double>(static_cast<Acc<T>>(p[i * columns + j]));
        for (int64_t j = begin; j < end; ++j) out[j] = static_cast<U>(static_cast<Acc<U>>(sum[j - begin]));
      });
    });
  });
  return true;
}

bool finite_elements(const Tensor& x, bool* result) {
  std::atomic<bool> finite{true};
  dispatch_floating(x.dtype(), "all_finite", [&]<class T>(T) {
    const T* p = x.data<T>();
    parallel_chunks(x.numel(), 65536, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if (!std::isfinite(static_cast<Acc<T>>(p[i]))) {
          finite = false;
          return;
        }
    });
  });
  *result = finite;
  return true;
}

bool clear_flag(const Tensor& x, const Tensor& flag) {
  bool finite = true;
  finite_elements(x, &finite);
  if (!finite) flag.fill(0);
  return true;
}

}  // namespace

// sum_of_squares: the reference's order is the definition.
const ReductionTable cpu::kReduction{.name = "vector loops",
                                     .global_mean = global_mean_of,
                                     .global_mean_backward = global_mean_gradient,
                                     .column_sums = sums_of_columns,
                                     .sum_of_squares = nullptr,
                                     .clear_unless_finite = clear_flag,
                                     .all_finite = finite_elements};

}  // namespace tidepool
