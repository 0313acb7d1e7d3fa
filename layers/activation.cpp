// Gradients are set, not added.
#include "layers/activation.h"

#include "core/elementwise.h"
#include "core/lane_math.h"
#include "core/tape.h"

namespace tidepool {

const char* name_of(Act act) {
  switch (act) {
    case Act::none:
      return "none";
    case Act::relu:
      return "relu";
    case Act::relu6:
      return "relu6";
    case Act::silu:
      return "silu";
    case Act::hardswish:
      return "hardswish";
    case Act::sigmoid:
      return "sigmoid";
  }
  return "?";
}

namespace {

// y = f(x) over dense memory, in the type of sums. kStream: see set_elements.
template <bool kStream, class F>
Tensor mapped(const char* who, const Tensor& x, const F& f) {
  if (!is_floating(x.dtype()))
    throw Error("[{}] expected an input of f32, f64 or bf16, got {}", who, name_of(x.dtype()));
  if (x.device() != kCpu) throw Failure("{} on cuda is not supported", who);
  const Tensor y = Tensor::empty(x.shape(), x.options());
  dispatch_floating(x.dtype(), who, [&]<class T>(T) {
    const T* from = x.data<T>();
    T* to = y.mutable_data<T>();
    set_elements<kStream>(to, x.numel(), [=]<class V>(int64_t i) { return f(load<V>(from + i)); });
  });
  return y;
}

// dx = f(kept, dy), `kept` being x or y.
template <bool kStream, class F>
Tensor activation_gradient(const Tensor& kept, const Tensor& dy, const F& f) {
  const Tensor g = dy.to(kept.dtype()).contiguous(kept.format());
  const Tensor dx = Tensor::empty(kept.shape(), kept.options());
  dispatch_floating(kept.dtype(), "activation", [&]<class T>(T) {
    const T *pk = kept.data<T>(), *pg = g.data<T>();
    T* to = dx.mutable_data<T>();
    set_elements<kStream>(to, kept.numel(), [=]<class V>(int64_t i) { return f(load<V>(pk + i), load<V>(pg + i)); });
  });
  return dx;
}

template <class V>
TP_INLINE V number(double v) {
  return splat<V>(static_cast<Lane<V>>(v));
}
template <class V>
TP_INLINE V sigmoid_of(V x) {
  return number<V>(1) / (number<V>(1) + exp_lanes(-x));
}

}  // namespace

Tensor relu(const Tensor& x) {
  const Tensor in = x.contiguous();
  const Tensor y = mapped<true>("relu", in, []<class V>(V v) { return v <= number<V>(0) ? number<V>(0) : v; });
  Tape::record("relu", {x}, {y}, {y}, [](BackwardContext& ctx) {
    ctx.dx(0) = activation_gradient<true>(ctx.saved(0), ctx.dy(),
                                          []<class V>(V out, V dy) { return out <= number<V>(0) ? number<V>(0) : dy; });
  });
  return y;
}

Tensor relu6(const Tensor& x) {
  const Tensor in = x.contiguous();
  const Tensor y = mapped<true>("relu6", in, []<class V>(V v) {
    const V low = v <= number<V>(0) ? number<V>(0) : v;
    return low >= number<V>(6) ? number<V>(6) : low;
  });
  Tape::record("relu6", {x}, {y}, {y}, [](BackwardContext& ctx) {
    ctx.dx(0) = activation_gradient<true>(ctx.saved(0), ctx.dy(), []<class V>(V out, V dy) {
      return (out <= number<V>(0)) | (out >= number<V>(6)) ? number<V>(0) : dy;
    });
  });
  return y;
}

Tensor silu(const Tensor& x) {
  const Tensor in = x.contiguous();
  const Tensor y = mapped<false>("silu", in, []<class V>(V v) { return v * sigmoid_of(v); });
  Tape::record("silu", {x}, {y}, {in}, [](BackwardContext& ctx) {
    ctx.dx(0) = activation_gradient<false>(ctx.saved(0), ctx.dy(), []<class V>(V v, V dy) {
      const V s = sigmoid_of(v);
      return dy * (s + v * (s * (number<V>(1) - s)));
    });
  });
  return y;
}

Tensor hardswish(const Tensor& x) {
  const Tensor in = x.contiguous();
  const Tensor y = mapped<true>("hardswish", in, []<class V>(V v) {
    const V above = v + number<V>(3), low = above <= number<V>(0) ? number<V>(0) : above;
    return v * (low >= number<V>(6) ? number<V>(6) : low) / number<V>(6);
  });
  Tape::record("hardswish", {x}, {y}, {in}, [](BackwardContext& ctx) {
    ctx.dx(0) = activation_gradient<true>(ctx.saved(0), ctx.dy(), []<class V>(V v, V dy) {
      const V between = dy * (v / number<V>(3) + number<V>(0.5));
      return v <= number<V>(-3) ? number<V>(0) : (v >= number<V>(3) ? dy : between);
    });
  });
  return y;
}

Tensor sigmoid(const Tensor& x) {
  const Tensor in = x.contiguous();
  const Tensor y = mapped<false>("sigmoid", in, []<class V>(V v) { return sigmoid_of(v); });
  Tape::record("sigmoid", {x}, {y}, {y}, [](BackwardContext& ctx) {
    ctx.dx(0) = activation_gradient<false>(ctx.saved(0), ctx.dy(),
                                           []<class V>(V out, V dy) { return dy * (out * (number<V>(1) - out)); });
  });
  return y;
}

Tensor activation(const Tensor& x, Act act) {
  switch (act) {
    case Act::none:
      return x;
    case Act::relu:
      return relu(x);
    case Act::relu6:
      return relu6(x);
    case Act::silu:
      return silu(x);
    case Act::hardswish:
      return hardswish(x);
    case Act::sigmoid:
      return sigmoid(x);
  }
  throw Error("[activation] expected an activation, got the number {}", static_cast<int>(act));
}

}  // namespace tidepool
