// Gradients are set, not added.
#include "layers/gate.h"

#include "core/backend/elementwise.h"
#include "core/tape.h"

namespace tidepool {

Tensor gate(const Tensor& x, const Tensor& s) {
  if (x.rank() < 3) throw Error("[gate] expected a map N x C x spatial, got the shape {}", x.shape().str());
  if (!is_floating(x.dtype())) throw Error("[gate] expected a map of f32, f64 or bf16, got {}", name_of(x.dtype()));
  Dims one_position = Dims::filled(x.rank(), 1);
  one_position[0] = x.size(0);
  one_position[1] = x.size(1);
  if (s.shape() != Dims{x.size(0), x.size(1)} && s.shape() != one_position)
    throw Error("[gate] expected a gate {}x{} or {} for a map of shape {}, got the shape {}", x.size(0), x.size(1),
                one_position.str(), x.shape().str(), s.shape().str());
  if (s.dtype() != x.dtype())
    throw Error("[gate] expected a gate of {}, as the map, got {}", name_of(x.dtype()), name_of(s.dtype()));
  const Tensor in = x.contiguous(), factors = s.contiguous(MemoryFormat::plain);
  const MemoryFormat format = in.format();
  const Tensor y = Tensor::empty(x.shape(), in.options());
  gate_forward(in, factors, y);
  // The gradient of one input takes the other input.
  const Tensor kept_x = Tape::wants({s}) ? in : Tensor(), kept_s = Tape::wants({x}) ? factors : Tensor();
  const Dims s_shape = s.shape();
  Tape::record("gate", {x, s}, {y}, {kept_x, kept_s}, [format, s_shape](BackwardContext& ctx) {
    const Tensor dy = ctx.dy().contiguous(format);
    if (ctx.needs(0)) ctx.dx(0) = Tensor::empty(dy.shape(), dy.options());
    if (!ctx.needs(1)) return gate_forward(dy, ctx.saved(1), ctx.dx(0));
    ctx.dx(1) = Tensor::empty(s_shape, {.dtype = dy.dtype(), .device = dy.device()});
    gate_backward(ctx.saved(0), ctx.saved(1), dy, ctx.dx(0), ctx.dx(1));
  });
  return y;
}

}  // namespace tidepool
