// Activations over dense memory, in the type of sums.
#include "core/cpu/elements.h"
#include "core/cpu/tables.h"
#include "core/lane_math.h"

namespace tidepool {
namespace {

// y = f(x). kStream: see set_elements.
template <bool kStream, class F>
bool mapped(const Tensor& x, const Tensor& y, const F& f) {
  dispatch_floating(x.dtype(), "activation", [&]<class T>(T) {
    const T* from = x.data<T>();
    T* to = y.mutable_data<T>();
    set_elements<kStream>(to, x.numel(), [=]<class V>(int64_t i) { return f(load<V>(from + i)); });
  });
  return true;
}

// dx = f(kept, dy), `kept` being x or y.
template <bool kStream, class F>
bool gradient(const Tensor& kept, const Tensor& dy, const Tensor& dx, const F& f) {
  dispatch_floating(kept.dtype(), "activation", [&]<class T>(T) {
    const T *pk = kept.data<T>(), *pg = dy.data<T>();
    T* to = dx.mutable_data<T>();
    set_elements<kStream>(to, kept.numel(), [=]<class V>(int64_t i) { return f(load<V>(pk + i), load<V>(pg + i)); });
  });
  return true;
}

template <class V>
TP_INLINE V number(double v) {
  return splat<V>(static_cast<Lane<V>>(v));
}

bool forward(const Tensor& x, Act act, const Tensor& y) {
  switch (act) {
    case Act::none:
      return false;
    case Act::relu:
      return mapped<true>(x, y, []<class V>(V v) { return v <= number<V>(0) ? number<V>(0) : v; });
    case Act::relu6:
      return mapped<true>(x, y, []<class V>(V v) {
        const V low = v <= number<V>(0) ? number<V>(0) : v;
        return low >= number<V>(6) ? number<V>(6) : low;
      });
    case Act::silu:
      return mapped<false>(x, y, []<class V>(V v) { return v * sigmoid_lanes(v); });
    case Act::hardswish:
      return mapped<true>(x, y, []<class V>(V v) {
        const V above = v + number<V>(3), low = above <= number<V>(0) ? number<V>(0) : above;
        return v * (low >= number<V>(6) ? number<V>(6) : low) / number<V>(6);
      });
    case Act::sigmoid:
      return mapped<false>(x, y, []<class V>(V v) { return sigmoid_lanes(v); });
  }
  return false;
}

bool backward(const Tensor& kept, const Tensor& dy, Act act, const Tensor& dx) {
  switch (act) {
    case Act::none:
      return false;
    case Act::relu:
      return gradient<true>(kept, dy, dx, []<class V>(V out, V g) { return out <= number<V>(0) ? number<V>(0) : g; });
    case Act::relu6:
      return gradient<true>(kept, dy, dx, []<class V>(V out, V g) {
        return (out <= number<V>(0)) | (out >= number<V>(6)) ? number<V>(0) : g;
      });
    case Act::silu:
      return gradient<false>(kept, dy, dx, []<class V>(V v, V g) {
        const V s = sigmoid_lanes(v);
        return g * (s + v * (s * (number<V>(1) - s)));
      });
    case Act::hardswish:
      return gradient<true>(kept, dy, dx, []<class V>(V v, V g) {
        const V between = g * (v / number<V>(3) + number<V>(0.5));
        return v <= number<V>(-3) ? number<V>(0) : (v >= number<V>(3) ? g : between);
      });
    case Act::sigmoid:
      return gradient<false>(kept, dy, dx,
                             []<class V>(V v, V g) { return g * (sigmoid_lanes(v) * sigmoid_lanes(-v)); });
  }
  return false;
}

}  // namespace

const ActivationTable cpu::kActivation{.name = "vector loops", .forward = forward, .backward = backward};

}  // namespace tidepool
