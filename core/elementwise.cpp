#include "core/elementwise.h"

#include <atomic>
#include <cmath>

#include "core/parallel.h"

namespace tidepool {

Tensor add(const Tensor& a, const Tensor& b) {
  expect_shape("add", "b", b, a.shape());
  if (a.device() != kCpu) throw Failure("sums of gradients on cuda are not supported");
  const Tensor x = a.contiguous(), y = b.to(a.dtype()).contiguous(x.format());
  const Tensor sum = Tensor::empty(a.shape(), {a.dtype(), x.format(), a.device()});
  dispatch_floating(a.dtype(), "add", [&]<class T>(T) {
    const T *px = x.data<T>(), *py = y.data<T>();
    T* out = sum.mutable_data<T>();
    set_elements<true>(out, a.numel(), [=]<class V>(int64_t i) { return load<V>(px + i) + load<V>(py + i); });
  });
  return sum;
}

bool all_finite(const Tensor& x) {
  if (!is_floating(x.dtype())) return true;
  const Tensor dense = x.to(kCpu).contiguous();
  std::atomic<bool> finite{true};
  dispatch_floating(x.dtype(), "all_finite", [&]<class T>(T) {
    const T* p = dense.data<T>();
    parallel_chunks(x.numel(), 65536, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if (!std::isfinite(static_cast<Acc<T>>(p[i]))) {
          finite = false;
          return;
        }
    });
  });
  return finite;
}

}  // namespace tidepool
