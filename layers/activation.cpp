// Gradients are set, not added.
#include "layers/activation.h"

#include "core/tape.h"

namespace tidepool {
namespace {

Tensor recorded(const Tensor& x, Act act) {
  const char* const who = name_of(act);
  if (!is_floating(x.dtype()))
    throw Error("[{}] expected an input of f32, f64 or bf16, got {}", who, name_of(x.dtype()));
  const Tensor in = x.contiguous(), y = Tensor::empty(in.shape(), in.options());
  activation_forward(in, act, y);
  Tape::record(who, {x}, {y}, {keeps_output(act) ? y : in}, [act](BackwardContext& ctx) {
    const Tensor& kept = ctx.saved(0);
    ctx.dx(0) = Tensor::empty(kept.shape(), kept.options());
    activation_backward(kept, ctx.dy().to(kept.dtype()).contiguous(kept.format()), act, ctx.dx(0));
  });
  return y;
}

}  // namespace

Tensor relu(const Tensor& x) {
  return recorded(x, Act::relu);
}
Tensor relu6(const Tensor& x) {
  return recorded(x, Act::relu6);
}
Tensor silu(const Tensor& x) {
  return recorded(x, Act::silu);
}
Tensor hardswish(const Tensor& x) {
  return recorded(x, Act::hardswish);
}
Tensor sigmoid(const Tensor& x) {
  return recorded(x, Act::sigmoid);
}

Tensor activation(const Tensor& x, Act act) {
  if (act == Act::none) return x;
  if (act > Act::sigmoid) throw Error("[activation] expected an activation, got the number {}", static_cast<int>(act));
  return recorded(x, act);
}

}  // namespace tidepool
