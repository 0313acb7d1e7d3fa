#include "core/cuda/kernels/act.h"
#include "core/cuda/tables.h"

namespace tidepool::cuda {
namespace {

template <class T, int n>
struct Forward {
  const T* x;
  T* y;
  Act act;

  TP_HD void operator()(uint32_t i) const {
    Pack<T, n> v = load_pack<n>(x, i * n);
    TP_UNROLL
    for (int k = 0; k < n; ++k) v.v[k] = rounded<T>(act_value(act, value_of(v.v[k])));
    store_pack<n>(y, i * n, v);
  }
};

template <class T, int n>
struct Backward {
  const T *kept, *dy;
  T* dx;
  Act act;

  TP_HD void operator()(uint32_t i) const {
    using A = Acc<T>;
    const Pack<T, n> of = load_pack<n>(kept, i * n);
    Pack<T, n> g = load_pack<n>(dy, i * n);
    TP_UNROLL
    for (int k = 0; k < n; ++k) {
      const A v = value_of(of.v[k]);
      const A slope = act_slope(act, v);  // of an output y: relu and relu6 have the slope of their input
      g.v[k] = rounded<T>(slope == 0 ? A{0} : slope * value_of(g.v[k]));
    }
    store_pack<n>(dx, i * n, g);
  }
};

bool forward(const Tensor& x, Act act, const Tensor& y) {
  dispatch_floating(x.dtype(), "activation", [&]<class T>(T) {
    dispatch_pack<T>(x.numel(), {x.raw(), y.raw()}, [&](auto n) {
      launch_each(narrow(x.numel()) / n, Forward<T, n>{x.data<T>(), y.mutable_data<T>(), act});
    });
  });
  return true;
}

bool backward(const Tensor& kept, const Tensor& dy, Act act, const Tensor& dx) {
  dispatch_floating(dy.dtype(), "activation", [&]<class T>(T) {
    dispatch_pack<T>(dy.numel(), {kept.raw(), dy.raw(), dx.raw()}, [&](auto n) {
      launch_each(narrow(dy.numel()) / n, Backward<T, n>{kept.data<T>(), dy.data<T>(), dx.mutable_data<T>(), act});
    });
  });
  return true;
}

}  // namespace

const ActivationTable kActivation{.name = "kernels", .forward = forward, .backward = backward};

}  // namespace tidepool::cuda
