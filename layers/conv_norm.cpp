// Gradients are set, not added.
#include "layers/conv_norm.h"

#include "core/tape.h"
#include "core/winograd/convolve.h"
#include "layers/norm_passes.h"

namespace tidepool {
namespace {

// The m of F(m x m) by which the case is done, or 0: by the library, with the norm in passes of its own.
int winograd_for(const Tensor& x, const Tensor& w, const ConvOptions& o) {
  if (o.exact || !winograd::serves(x, w, o)) return 0;
  return winograd_size(x.shape(), w.shape(), o);
}

// max(0, norm) of `map`, or `map` when there is none.
Tensor applied(const Tensor& map, const Tensor& constants) {
  if (!constants) return map;
  const Tensor y = Tensor::empty(map.shape(), map.options());
  norm::apply(map, constants, /*relu=*/true, y);
  return y;
}

void backward(Pull& p, const ConvOptions& conv, int m, bool training, bool biased) {
  const Tensor &x = p.saved(0), &x_norm = p.saved(1), &w = p.saved(2), &y = p.saved(3), &stats = p.saved(4);
  const Tensor dz = p.dy().to(y.dtype()).contiguous(y.format());
  const Tensor constants = norm::constants(stats, p.saved(5), p.saved(6));
  const Tensor sums = norm::KnownSums(p.saved(7)).of(dz);
  const auto gradient = norm::parameter_gradient(y, dz, stats, constants, training, /*relu=*/true, sums);
  p.dx(3) = gradient.dgamma;
  p.dx(4) = gradient.dbeta;
  if (sums)
    Tape::worked("norm");
  else
    Tape::worked("norm", {y, dz});
  const auto like = [](const Tensor& t) { return Tensor::empty(t.shape(), t.options()); };
  if (p.needs(0)) p.dx(0) = like(x);
  p.dx(1) = like(w);
  if (m != 0 && !biased) {
    const winograd::GradientFusion fusion{y, constants, gradient.line};
    if (p.needs(0)) {
      winograd::conv_backward_data(m, dz, w, conv, p.dx(0), fusion);
      Tape::worked("convolution backward data", {dz, y, w, p.dx(0)}, direct_multiply_adds(y, w));
    }
    winograd::conv_backward_weights(m, x, dz, conv, p.dx(1), {}, x_norm, fusion);
    Tape::worked("convolution backward weights", {x, dz, y, w}, direct_multiply_adds(y, w));
    return;
  }
  if (biased) p.dx(2) = Tensor::empty({w.size(0)}, w.options());
  const Tensor dy = like(y), in = applied(x, x_norm);
  norm::apply_gradient(y, dz, constants, gradient.line, /*relu=*/true, dy);
  Tape::worked("norm", {y, dz, dy});
  if (p.needs(0)) {
    conv_backward_data(dy, w, conv, p.dx(0));
    Tape::worked("convolution backward data", {dy, w, p.dx(0)}, direct_multiply_adds(y, w));
  }
  conv_backward_weights(in, dy, conv, p.dx(1), p.dx(2));
  Tape::worked("convolution backward weights", {in, dy, w}, direct_multiply_adds(y, w));
}

}  // namespace

Tensor NormedMap::written() const {
  return applied(map_, constants_);
}

Tensor NormedMap::tensor() const {
  if (!constants_) return map_;
  const Tensor y = written();
  Tape::worked("norm", {map_, y});
  Tape::record("norm_relu", {map_}, {y}, {}, [](Pull& p) { p.dx(0) = p.dy(); });  // map_'s history is behind the norm
  return y;
}

bool conv_norm_fuses(const NormedMap& x, const ConvNorm& p) {
  const Tensor& map = x.map_;
  return map.device() == kCpu && map.rank() == 4 && map.numel() > 0 &&
         (map.dtype() == DType::f32 || map.dtype() == DType::bf16) && map.is_contiguous(MemoryFormat::channels_last) &&
         p.weight.dtype() == DType::f32;
}

NormedMap conv_norm_relu(const NormedMap& x, const ConvNorm& p, const ConvOptions& conv,
                         const BatchNormOptions& options) {
  const Dims shape = convolution_shape(x.shape(), p.weight.shape(), conv);
  const Tensor w = p.weight.contiguous(MemoryFormat::plain);
  const Tensor bias = p.bias ? p.bias.contiguous(MemoryFormat::plain) : p.bias;
  if (bias) expect_shape("conv", "bias", bias, {shape[1]});
  const Tensor y = Tensor::empty(shape, {x.map_.dtype(), MemoryFormat::channels_last, kCpu});
  norm::check(y, p.gamma, p.beta, p.running_mean, p.running_var, options);
  const Tensor gamma = p.gamma.contiguous(), beta = p.beta.contiguous();
  const int m = winograd_for(x.map_, w, conv);

  if (!options.training && !Tape::wants({x.map_, p.weight, p.bias, p.gamma, p.beta})) {
    const Tensor constants = norm::constants(norm::statistics({}, p.running_mean, p.running_var, options), gamma, beta);
    if (m != 0) {
      winograd::conv_forward(m, x.map_, w, bias, conv, y, {.read = x.constants_, .write = constants});
    } else {
      conv_forward(x.written(), w, bias, conv, y);
      norm::apply(y, constants, /*relu=*/true, y);
    }
    return y;
  }

  norm::Moments moments;
  if (m != 0) {
    winograd::ResultMoments parts;
    winograd::conv_forward(m, x.map_, w, bias, conv, y,
                           {.read = x.constants_, .moments = options.training ? &parts : nullptr});
    Tape::worked("convolution forward", {x.map_, w, y}, direct_multiply_adds(y, w));
    if (options.training) moments = norm::join(parts.parts, parts.counts);
  } else {
    conv_forward(x.written(), w, bias, conv, y);
    Tape::worked("convolution forward", {x.map_, w, y}, direct_multiply_adds(y, w));
    if (options.training) moments = norm::moments_of(y);
    Tape::worked("norm", {y});
  }
  const Tensor stats = norm::statistics(moments, p.running_mean, p.running_var, options);
  const Tensor constants = norm::constants(stats, gamma, beta);
  Tape::worked("norm");
  const bool training = options.training, biased = static_cast<bool>(bias);
  const norm::KnownSums sums = norm::KnownSums::wanted(shape[1]);
  Tape::record("conv_norm_relu", {x.map_, p.weight, p.bias, p.gamma, p.beta}, {y},
               {x.map_, x.constants_, w, y, stats, gamma, beta, sums.room()},
               [conv, m, training, biased](Pull& pull) { backward(pull, conv, m, training, biased); });
  return {y, constants, sums};
}

}  // namespace tidepool
