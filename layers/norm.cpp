// Four passes over memory a training step, all near its bandwidth: statistics, normalise; sums of the gradient,
// gradient. Gradients are set, not added.
#include "layers/norm.h"

#include "core/tape.h"
#include "layers/norm_passes.h"

namespace tidepool {

Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                  const Tensor& running_var, const BatchNormOptions& o) {
  norm::check(x, gamma, beta, running_mean, running_var, o);
  const Tensor in = x.contiguous(x.format());
  const Tensor g = gamma.contiguous(), b = beta.contiguous();
  const norm::Moments moments = o.training && x.numel() > 0 ? norm::moments_of(in) : norm::Moments{};
  const Tensor stats = norm::statistics(moments, running_mean, running_var, o);
  const Tensor constants = norm::constants(stats, g, b);
  const Tensor y = Tensor::empty(x.shape(), {x.dtype(), in.format(), x.device()});
  norm::apply(in, constants, o.act, y);
  const bool training = o.training;
  const Act act = o.act;
  Tape::record("batch_norm", {x, gamma, beta}, {y}, {in, stats, g, b}, [training, act](Pull& p) {
    const Tensor& px = p.saved(0);
    const Tensor again = norm::constants(p.saved(1), p.saved(2), p.saved(3));
    const Tensor dy = p.dy().to(px.dtype()).contiguous(px.format());
    const auto gradient = norm::parameter_gradient(px, dy, p.saved(1), again, training, act);
    p.dx(1) = gradient.dgamma;
    p.dx(2) = gradient.dbeta;
    if (!p.needs(0)) return;
    p.dx(0) = Tensor::empty(px.shape(), px.options());
    norm::apply_gradient(px, dy, again, gradient.line, act, p.dx(0));
  });
  return y;
}

}  // namespace tidepool
