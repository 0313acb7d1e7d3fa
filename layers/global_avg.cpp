// Gradients are set, not added.
#include "layers/global_avg.h"

#include "core/backend/reduction.h"
#include "core/tape.h"

namespace tidepool {

Tensor global_avg(const Tensor& x) {
  if (x.rank() < 3) throw Error("[global_avg] expected an input N x C x spatial, got the shape {}", x.shape().str());
  if (!is_floating(x.dtype()))
    throw Error("[global_avg] expected an input of f32, f64 or bf16, got {}", name_of(x.dtype()));
  int64_t positions = 1;
  for (int i = 2; i < x.rank(); ++i) positions *= x.size(i);
  if (positions == 0) throw Error("[global_avg] an input of shape {} has no positions", x.shape().str());
  const Tensor in = x.contiguous();
  const Tensor y = Tensor::empty({x.size(0), x.size(1)}, {.dtype = x.dtype(), .device = x.device()});
  global_mean(in, y);
  const Dims shape = x.shape();
  const MemoryFormat format = in.format();
  Tape::record("global_avg", {x}, {y}, {}, [shape, format](BackwardContext& ctx) {
    const Tensor dy = ctx.dy().contiguous(MemoryFormat::plain);
    ctx.dx(0) = Tensor::empty(shape, {.dtype = dy.dtype(), .format = format, .device = dy.device()});
    global_mean_backward(dy, ctx.dx(0));
  });
  return y;
}

}  // namespace tidepool
