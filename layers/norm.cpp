// Four passes over memory per training step, all near its bandwidth: statistics, normalise; sums of the gradient,
// gradient. Gradients are set, not added.
#include "layers/norm.h"

#include "core/tape.h"

namespace tidepool {

Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                  const Tensor& running_var, const BatchNormOptions& o) {
  norm::check(x, gamma, beta, running_mean, running_var, o);
  const Tensor in = x.contiguous(x.format());
  const BatchNormParameters known{gamma.contiguous(), beta.contiguous(), running_mean, running_var};
  const norm::Statistics of =
      o.training && x.numel() > 0 ? norm::batch_statistics(in, known, o) : norm::running_statistics(known, o);
  const Tensor y = Tensor::empty(x.shape(), {x.dtype(), in.format(), x.device()});
  norm::apply(in, of.constants, o.act, y);
  const bool training = o.training;
  const Act act = o.act;
  Tape::record("batch_norm", {x, gamma, beta}, {y}, {in, of.stats, of.constants},
               [training, act](BackwardContext& ctx) {
                 const Tensor &px = ctx.saved(0), &stats = ctx.saved(1), &constants = ctx.saved(2);
                 const Tensor dy = ctx.dy().to(px.dtype()).contiguous(px.format());
                 const auto gradient = norm::parameter_gradient(px, dy, stats, constants, training, act);
                 ctx.dx(1) = gradient.dgamma;
                 ctx.dx(2) = gradient.dbeta;
                 if (!ctx.needs(0)) return;
                 ctx.dx(0) = Tensor::empty(px.shape(), px.options());
                 norm::apply_gradient(px, dy, constants, gradient.line, act, ctx.dx(0));
               });
  return y;
}

namespace norm {

void check(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
           const Tensor& running_var, const BatchNormOptions& o) {
  if (x.rank() < 2) throw Error("[batch_norm] expected an input N x C x spatial, got the shape {}", x.shape().str());
  if (!is_floating(x.dtype()))
    throw Error("[batch_norm] expected an input of f32, f64 or bf16, got {}", name_of(x.dtype()));
  const auto channels = [&](const char* what, const Tensor& t) {
    if (!t) throw Error("[batch_norm] {} is missing", what);
    expect_shape("batch_norm", what, t, {x.size(1)});
    const DType wanted = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
    if (t.dtype() != wanted)
      throw Error("[batch_norm] {}: expected {} with an input of {}, got {}", what, name_of(wanted), name_of(x.dtype()),
                  name_of(t.dtype()));
  };
  channels("gamma", gamma);
  channels("beta", beta);
  channels("running_mean", running_mean);
  channels("running_var", running_var);
  if (!serves(o.act))
    throw Error("[batch_norm] expected the activation none, relu, relu6 or silu, got {}", name_of(o.act));
  if (!(o.eps >= 0)) throw Error("[batch_norm] expected eps >= 0, got {}", o.eps);
  if (!running_mean.is_contiguous(MemoryFormat::plain) || !running_var.is_contiguous(MemoryFormat::plain))
    throw Error("[batch_norm] running statistics must be dense");
  if (o.training && x.numel() == x.size(1))
    throw Error("[batch_norm] training needs more than one value per channel, got an input of shape {}",
                x.shape().str());
}

}  // namespace norm
}  // namespace tidepool
