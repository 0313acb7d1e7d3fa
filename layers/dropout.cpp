// Gradients are set, not added.
#include "layers/dropout.h"

#include "core/backend/elementwise.h"
#include "core/tape.h"

namespace tidepool {
namespace {

Tensor masked(const Tensor& x, const MaskDraw& draw) {
  const Tensor y = Tensor::empty(x.shape(), x.options());
  mask_elements(x, draw, y);
  return y;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, uint64_t seed, uint64_t step, const Tensor& counter) {
  if (!(p >= 0.0 && p < 1.0)) throw Error("[dropout] expected p in [0, 1), got {}", p);
  if (!is_floating(x.dtype()))
    throw Error("[dropout] expected an input of f32, f64 or bf16, got {}", name_of(x.dtype()));
  if (x.rank() < 1) throw Error("[dropout] expected an input N x ..., got a scalar");
  const Tensor in = x.contiguous();
  const Tensor y = masked(in, {p, seed, step, counter});
  const MemoryFormat format = in.format();
  Tape::record("dropout", {x}, {y}, {counter}, [p, seed, step, format](BackwardContext& ctx) {
    ctx.dx(0) = masked(ctx.dy().contiguous(format), {p, seed, step, ctx.saved(0)});
  });
  return y;
}

}  // namespace tidepool
