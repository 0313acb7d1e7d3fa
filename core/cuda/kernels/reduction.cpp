#include "core/backend/reduction.h"

#include "core/cuda/kernels/columns.h"
#include "core/cuda/kernels/tensor_list.h"
#include "core/cuda/tables.h"

namespace tidepool::cuda {
namespace {

template <class T>
struct Elements {
  const T* x;

  template <int n>
  TP_HD void operator()(uint32_t at, uint32_t /*channel*/, double (&sum)[n], double (&/*unused*/)[n]) const {
    const Pack<T, n> v = load_pack<n>(x, at);
    TP_UNROLL
    for (int k = 0; k < n; ++k) sum[k] += static_cast<double>(value_of(v.v[k]));
  }
};
template <class U>
struct SetScaled {
  U* to;
  uint32_t channels;
  double count;

  TP_HD void operator()(uint32_t outer, uint32_t channel, double sum, double /*unused*/) const {
    to[outer * channels + channel] = rounded<U>(sum / count);
  }
};

bool global_mean(const Tensor& x, const Tensor& y) {
  const Columns m = Columns::of_images(x);
  dispatch_floating(x.dtype(), "global_avg", [&]<class T>(T) {
    sum_columns<T>(m, {x.raw()}, Elements<T>{x.data<T>()},
                   SetScaled<T>{y.mutable_data<T>(), m.channels, static_cast<double>(m.rows)});
  });
  return true;
}

template <class T, int n>
struct Spread {
  const T* dy;
  T* dx;
  Map map;

  TP_HD void operator()(uint32_t i) const {
    const uint32_t row = map.row(i * n);
    Pack<T, n> g;
    TP_UNROLL
    for (int k = 0; k < n; ++k)
      g.v[k] = rounded<T>(value_of(dy[map.last ? row + static_cast<uint32_t>(k) : row]) /
                          static_cast<Acc<T>>(map.positions));
    store_pack<n>(dx, i * n, g);
  }
};

bool global_mean_backward(const Tensor& dy, const Tensor& dx) {
  const Map map(dx);
  dispatch_floating(dx.dtype(), "global_avg", [&]<class T>(T) {
    dispatch_pack<T>(map.last ? map.channels : map.positions, {dx.raw()}, [&](auto n) {
      launch_each(dx.numel() / n, Spread<T, n>{dy.data<T>(), dx.mutable_data<T>(), map});
    });
  });
  return true;
}

bool column_sums(const Tensor& x, const Tensor& sums) {
  if (x.numel() == 0) {
    sums.fill(0);
    return true;
  }
  const Columns m = Columns::of_batch(x);
  dispatch_floating(x.dtype(), "column_sums", [&]<class T>(T) {
    dispatch_floating(sums.dtype(), "column_sums", [&]<class U>(U) {
      sum_columns<T>(m, {x.raw()}, Elements<T>{x.data<T>()}, SetScaled<U>{sums.mutable_data<U>(), m.channels, 1});
    });
  });
  return true;
}

// -- over many tensors ------------------------------------------------------------------------------------------------

// parts[block] = the sum of squares of a block's elements.
template <class T>
__global__ void squares(TensorList<const T*> list, double* parts) {
  TP_SHARED(double, shared, 32);
  double sum = 0;
  list.each_of_block([&sum](const T* x, uint32_t i) {
    const double v = static_cast<double>(value_of(x[i]));
    sum += v * v;
  });
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}
__global__ void add_up(const double* parts, uint32_t count, double* total) {
  TP_SHARED(double, shared, 32);
  double sum = 0;
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) sum += parts[i];
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) *total = sum;
}

bool sum_of_squares(std::span<const Tensor> tensors, const Tensor& sum) {
  int64_t blocks = 0;
  for (const Tensor& t : tensors) blocks += (t.numel() + kListRun - 1) / kListRun;
  const Tensor parts = Tensor::empty({blocks}, {.dtype = DType::f64, .device = sum.device()});
  double* const all = parts.mutable_data<double>();
  double* to = all;
  each_type(tensors, [&]<class T>(T, std::span<const size_t> places) {
    each_list<const T*>(
        places.size(), [&](size_t k) { return tensors[places[k]].template data<T>(); },
        [&](size_t k) { return tensors[places[k]].numel(); },
        [&](const TensorList<const T*>& list) {
          launch(squares<T>, Grid(dim3(list.blocks()), dim3(256)), list, to);
          to += list.blocks();
        });
  });
  launch(add_up, Grid(dim3(1), dim3(256)), static_cast<const double*>(all), narrow(blocks), sum.mutable_data<double>());
  return true;
}

// flag = 0 where an element is infinite or NaN. Threads that write it write the same.
template <class T>
struct Finite {
  const T* x;
  int32_t* flag;

  TP_HD void operator()(uint32_t i) const {
    const Acc<T> v = value_of(x[i]);
    if (!(v - v == 0)) *flag = 0;
  }
};

bool clear_flag(const Tensor& x, const Tensor& flag) {
  dispatch_floating(x.dtype(), "all_finite", [&]<class T>(T) {
    launch_each(x.numel(), Finite<T>{x.data<T>(), flag.mutable_data<int32_t>()});
  });
  return true;
}

bool all_finite(const Tensor& x, bool* finite) {
  const Tensor flag = Tensor::full({1}, 1, {.dtype = DType::i32, .device = x.device()});
  clear_flag(x, flag);
  *finite = flag.item() != 0;
  return true;
}

}  // namespace

const ReductionTable kReduction{.name = "kernels",
                                .global_mean = global_mean,
                                .global_mean_backward = global_mean_backward,
                                .column_sums = column_sums,
                                .sum_of_squares = sum_of_squares,
                                .clear_unless_finite = clear_flag,
                                .all_finite = all_finite};

}  // namespace tidepool::cuda
