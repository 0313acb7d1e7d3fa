// Gradients are set, not added.
#include "layers/fused/conv_norm.h"

#include "core/backend/conv_weights.h"
#include "core/backend/fused_conv.h"
#include "core/backend/norm.h"
#include "core/tape.h"

namespace tidepool {
namespace {

// What the backward must know besides the tensors that the node kept.
struct Kept {
  ConvOptions conv;
  FusedConv fused;  // none: the passes run one after the other
  bool training, biased;
  Act act, x_act;
};

void backward(BackwardContext& ctx, const Kept& k) {
  const Tensor &x = ctx.saved(0), &x_norm = ctx.saved(1), &w = ctx.saved(2), &y = ctx.saved(3), &stats = ctx.saved(4),
               &constants = ctx.saved(5);
  const Tensor dz = ctx.dy().to(y.dtype()).contiguous(y.format());
  const Tensor& sums = ctx.dy(1);
  const auto gradient = norm::parameter_gradient(y, dz, stats, constants, k.training, k.act, sums);
  ctx.dx(3) = gradient.dgamma;
  ctx.dx(4) = gradient.dbeta;
  if (sums)
    end_span("norm");
  else
    end_span("norm", {y, dz});
  const auto like = [](const Tensor& t) { return Tensor::empty(t.shape(), t.options()); };
  if (ctx.needs(0)) ctx.dx(0) = like(x);
  ctx.dx(1) = like(w);
  if (k.fused && !k.biased && k.fused.table->applies(k.act)) {
    const bool through = x_norm && k.fused.table->applies(k.x_act);
    const Tensor in = through ? x : NormedMap(x, x_norm, k.x_act, {}).values();
    const NormAct read{through ? x_norm : Tensor{}, k.x_act};
    if (ctx.needs(5)) ctx.dx(5) = Tensor::empty({2, x.size(1)}, {.dtype = DType::f64, .device = x.device()});
    k.fused.table->backward(k.fused.choice, in, read, dz, {y, {constants, k.act}, gradient.line}, w, k.conv,
                            {ctx.dx(0), ctx.dx(1), ctx.dx(5)});
    return;
  }
  if (k.biased) ctx.dx(2) = Tensor::empty({w.size(0)}, {.dtype = constants.dtype(), .device = w.device()});
  const Tensor dy = like(y), in = NormedMap(x, x_norm, k.x_act, {}).values();
  norm::apply_gradient(y, dz, constants, gradient.line, k.act, dy);
  end_span("norm", {y, dz, dy});
  if (ctx.needs(0)) {
    conv_backward_data(dy, w, k.conv, ctx.dx(0));
    end_span(conv_kinds(w, k.conv).backward_data, {dy, w, ctx.dx(0)}, direct_multiply_adds(y, w));
  }
  conv_backward_weights(in, dy, k.conv, ctx.dx(1), ctx.dx(2));
  end_span(conv_kinds(w, k.conv).backward_weights, {in, dy, w}, direct_multiply_adds(y, w));
}

}  // namespace

bool conv_norm_serves(const NormedMap& x, const ConvNorm& p) {
  const Tensor& map = x.raw();
  // A map of one number per image lies alike in both formats, and no kernel could tell which one y has.
  return map.rank() == 4 && map.numel() > map.size(0) && (map.dtype() == DType::f32 || map.dtype() == DType::bf16) &&
         map.is_contiguous(MemoryFormat::channels_last) && p.weight.dtype() == DType::f32;
}

NormedMap conv_norm(const NormedMap& x, const ConvNorm& p, const ConvOptions& conv, const BatchNormOptions& options) {
  const Dims shape = convolution_shape(x.shape(), p.weight.shape(), conv);
  const Tensor bias = p.bias ? p.bias.contiguous(MemoryFormat::plain) : p.bias;
  if (bias) expect_shape("conv", "bias", bias, {shape[1]});
  const Tensor map =
      x.raw().contiguous(MemoryFormat::channels_last);  // its strides say so too: of one channel they may not
  const Tensor y = Tensor::empty(shape, {map.dtype(), MemoryFormat::channels_last, map.device()});
  norm::check(y, p.gamma, p.beta, p.running_mean, p.running_var, options);
  const BatchNormParameters known{p.gamma.contiguous(), p.beta.contiguous(), p.running_mean, p.running_var};
  const FusedConv fused = fused_conv(x.raw(), p.weight, conv);
  const bool through = fused && fused.table->applies(x.act());
  const Tensor in = through ? map : x.values().contiguous(MemoryFormat::channels_last);
  const Tensor w = fused ? p.weight.contiguous(MemoryFormat::plain) : prepared_weights(p.weight, in);
  const NormAct in_norm{through ? x.constants() : Tensor{}, x.act()};
  const auto convolved = [&](const ForwardFusion& fusion) {
    if (fused)
      fused.table->forward(fused.choice, in, w, bias, conv, y, fusion);
    else
      conv_forward(in, w, bias, conv, y);
    end_span(conv_kinds(w, conv).forward, {in, w, y}, direct_multiply_adds(y, w));
  };

  if (!options.training && !Tape::wants({x.raw(), p.weight, p.bias, p.gamma, p.beta})) {
    const Tensor constants = norm::running_statistics(known, options).constants;
    const bool stored = fused && fused.table->applies(options.act);
    convolved({.read = in_norm, .write = {stored ? constants : Tensor{}, options.act}});
    if (!stored) norm::apply(y, constants, options.act, y);
    return y;
  }

  ResultMoments parts;
  convolved({.read = in_norm, .moments = options.training ? &parts : nullptr});
  const auto statistics = [&] {
    if (!options.training) return norm::running_statistics(known, options);
    if (!fused) return norm::batch_statistics(y, known, options);
    return norm::chunk_statistics(parts.parts, parts.counts, static_cast<double>(y.numel() / shape[1]), known, options);
  };
  const norm::Statistics of = statistics();
  if (fused)
    end_span("norm");
  else
    end_span("norm", {y});
  const Tensor sums = Tensor::empty({2, shape[1]}, {.dtype = DType::f64, .device = y.device()});
  // The sums of x's own norm are given where the gradients are formed with that norm at hand.
  const bool gives_sums = through && !bias && fused.table->gives_sums && fused.table->applies(options.act);
  const Kept kept{conv, fused, options.training, static_cast<bool>(bias), options.act, x.act()};
  Tape::record("conv_norm", {x.raw(), p.weight, p.bias, p.gamma, p.beta, gives_sums ? x.sums() : Tensor{}}, {y, sums},
               {map, x.constants(), w, y, of.stats, of.constants},
               [kept](BackwardContext& ctx) { backward(ctx, kept); });
  return {y, of.constants, options.act, sums};
}

}  // namespace tidepool
