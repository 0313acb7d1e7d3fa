// Gradients are set, not added.
#include "layers/instance_norm.h"

#include "core/backend/norm.h"
#include "core/tape.h"

namespace tidepool {
namespace {

void backward(BackwardContext& ctx) {
  const Tensor &x = ctx.saved(0), &gamma = ctx.saved(1), &stats = ctx.saved(2);
  const Tensor dy = ctx.dy().to(x.dtype()).contiguous(x.format());
  ctx.dx(0) = Tensor::empty(x.shape(), x.options());
  ctx.dx(1) = Tensor::empty(gamma.shape(), gamma.options());
  ctx.dx(2) = Tensor::empty(gamma.shape(), gamma.options());
  backend::run("instance_norm", &NormTable::instance_norm_backward, x, gamma, stats, dy, ctx.dx(0), ctx.dx(1),
               ctx.dx(2));
}

}  // namespace

Tensor instance_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps) {
  if (x.rank() < 3 || x.rank() > 5)
    throw Error("[instance_norm] expected an input N x C x 1 to 3 spatial axes, got the shape {}", x.shape().str());
  if (x.dtype() != DType::f32 && x.dtype() != DType::f64)
    throw Error("[instance_norm] expected an input of f32 or f64, got {}", name_of(x.dtype()));
  for (const auto& [name, t] : {std::pair("gamma", gamma), std::pair("beta", beta)}) {
    expect_shape("instance_norm", name, t, {x.size(1)});
    if (t.dtype() != x.dtype())
      throw Error("[instance_norm] expected {} of {}, as the input, got {}", name, name_of(x.dtype()),
                  name_of(t.dtype()));
  }
  const Tensor in = x.contiguous(), scale = gamma.contiguous(), shift = beta.contiguous();
  int64_t positions = 1;
  for (int i = 2; i < x.rank(); ++i) positions *= x.size(i);
  if (positions < 1) throw Error("[instance_norm] an input of shape {} has no positions", x.shape().str());
  const Tensor y = Tensor::empty(x.shape(), in.options());
  const Tensor stats = Tensor::empty({x.size(0), 2, x.size(1)}, {.dtype = DType::f64, .device = x.device()});
  backend::run("instance_norm", &NormTable::instance_norm, in, scale, shift, eps, y, stats);
  Tape::record("instance_norm", {x, gamma, beta}, {y}, {in, scale, stats}, backward);
  return y;
}

}  // namespace tidepool
