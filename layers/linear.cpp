// Gradients are set, not added.
#include "layers/linear.h"

#include "core/backend/matmul.h"
#include "core/backend/reduction.h"
#include "core/tape.h"

namespace tidepool {

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (x.rank() != 2) throw Error("[linear] expected an input N x I, got the shape {}", x.shape().str());
  if (!is_floating(x.dtype()))
    throw Error("[linear] expected an input of f32, f64 or bf16, got {}", name_of(x.dtype()));
  if (weight.rank() != 2 || weight.size(1) != x.size(1))
    throw Error("[linear] expected a weight O x {} for an input of shape {}, got the shape {}", x.size(1),
                x.shape().str(), weight.shape().str());
  if (weight.dtype() != x.dtype() && !(x.dtype() == DType::bf16 && weight.dtype() == DType::f32))
    throw Error("[linear] expected a weight of {} for an input of {}, got {}",
                x.dtype() == DType::bf16 ? "f32 or bf16" : name_of(x.dtype()), name_of(x.dtype()),
                name_of(weight.dtype()));
  if (bias) {
    expect_shape("linear", "bias", bias, {weight.size(0)});
    if (bias.dtype() != weight.dtype())
      throw Error("[linear] expected a bias of {}, as the weight, got {}", name_of(weight.dtype()),
                  name_of(bias.dtype()));
  }
  const Tensor in = x.contiguous(MemoryFormat::plain), w = weight.contiguous(MemoryFormat::plain);
  const Tensor y = Tensor::empty({x.size(0), weight.size(0)}, {.dtype = x.dtype(), .device = x.device()});
  matmul(in, w.to(x.dtype()).permute({1, 0}), bias ? bias.contiguous(MemoryFormat::plain) : bias, y);
  const bool biased = static_cast<bool>(bias);
  Tape::record("linear", {x, weight, bias}, {y}, {in, w}, [biased](BackwardContext& ctx) {
    const Tensor &px = ctx.saved(0), &pw = ctx.saved(1);
    const Tensor dy = ctx.dy().to(px.dtype()).contiguous(MemoryFormat::plain);
    if (ctx.needs(0)) {
      ctx.dx(0) = Tensor::empty(px.shape(), px.options());
      matmul(dy, pw.to(px.dtype()), {}, ctx.dx(0));
    }
    if (ctx.needs(1)) {
      ctx.dx(1) = Tensor::empty(pw.shape(), pw.options());
      if (px.size(0) == 0)
        ctx.dx(1).fill(0.0);
      else
        matmul(dy.permute({1, 0}), px, {}, ctx.dx(1));
    }
    if (biased && ctx.needs(2)) {
      ctx.dx(2) = Tensor::empty({pw.size(0)}, pw.options());
      column_sums(dy, ctx.dx(2));
    }
  });
  return y;
}

}  // namespace tidepool
