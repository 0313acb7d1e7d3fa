// Gradients are set, not added.
#include "layers/conv.h"

#include <algorithm>

#include "core/backend/conv_weights.h"
#include "core/tape.h"

namespace tidepool {

Dims convolution_shape(const Dims& x, const Dims& weight, const ConvOptions& o) {
  if (x.rank() < 3 || x.rank() > 5)
    throw Error("[conv] expected an input N x C x 1 to 3 spatial axes, got the shape {}", x.str());
  if (weight.rank() != x.rank())
    throw Error("[conv] expected a weight of rank {} for an input of shape {}, got the shape {}", x.rank(), x.str(),
                weight.str());
  if (o.groups < 1) throw Error("[conv] expected groups >= 1, got {}", o.groups);
  if (weight[0] < 1 || weight[0] % o.groups != 0)
    throw Error("[conv] {} output channels cannot be divided into {} groups", weight[0], o.groups);
  if (weight[1] < 1 || x[1] != weight[1] * o.groups)
    throw Error("[conv] a weight of shape {} in {} group{} expects {} channels, got an input of shape {}", weight.str(),
                o.groups, o.groups == 1 ? "" : "s", weight[1] * o.groups, x.str());
  Dims y = x;
  y[1] = weight[0];
  for (int i = 2; i < x.rank(); ++i) {
    const auto a = static_cast<size_t>(i - 2);
    if (o.stride[a] < 1) throw Error("[conv] expected stride >= 1, got {} on axis {}", o.stride[a], i - 2);
    if (o.dilation[a] < 1) throw Error("[conv] expected dilation >= 1, got {} on axis {}", o.dilation[a], i - 2);
    if (o.padding[a] < 0) throw Error("[conv] expected padding >= 0, got {} on axis {}", o.padding[a], i - 2);
    if (weight[i] < 1) throw Error("[conv] expected a kernel >= 1, got {} on axis {}", weight[i], i - 2);
    constexpr int64_t kMost = int64_t{1} << 40;
    if (o.padding[a] > kMost || o.dilation[a] > kMost / weight[i])
      throw Error("[conv] expected padding and dilation below 2^40, got {} and {} on axis {}", o.padding[a],
                  o.dilation[a], i - 2);
    if (x[i] < 1) throw Error("[conv] an input of shape {} has no positions", x.str());
    const int64_t reach = o.dilation[a] * (weight[i] - 1) + 1;
    if (x[i] + 2 * o.padding[a] < reach)
      throw Error("[conv] kernel {}{} does not fit an input of length {} (padding {})", weight[i],
                  o.dilation[a] > 1 ? fmt::format(" with dilation {}", o.dilation[a]) : "", x[i], o.padding[a]);
    y[i] = (x[i] + 2 * o.padding[a] - reach) / o.stride[a] + 1;
  }
  return y;
}

Tensor convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options) {
  const Dims shape = convolution_shape(x.shape(), weight.shape(), options);
  if (!is_floating(x.dtype())) throw Error("[conv] expected an input of f32, f64 or bf16, got {}", name_of(x.dtype()));
  if (weight.dtype() != x.dtype() && !(x.dtype() == DType::bf16 && weight.dtype() == DType::f32))
    throw Error("[conv] expected a weight of {} for an input of {}, got {}",
                x.dtype() == DType::bf16 ? "f32 or bf16" : name_of(x.dtype()), name_of(x.dtype()),
                name_of(weight.dtype()));
  if (bias) {
    expect_shape("conv", "bias", bias, {shape[1]});
    if (bias.dtype() != weight.dtype())
      throw Error("[conv] expected a bias of {}, as the weight, got {}", name_of(weight.dtype()),
                  name_of(bias.dtype()));
  }
  const MemoryFormat format = x.format();
  const Tensor in = x.contiguous(format), w = prepared_weights(weight, in);
  const Tensor b = bias ? bias.contiguous(MemoryFormat::plain) : bias;
  const Tensor y = Tensor::empty(shape, {x.dtype(), format, x.device()});
  conv_forward(in, w, b, options, y);
  end_span(conv_kinds(w, options).forward, {in, w, y}, direct_multiply_adds(y, w));
  const bool biased = static_cast<bool>(bias);
  Tape::record(
      "conv", {x, weight, bias}, {y}, {in, w}, [options, format, biased, type = weight.dtype()](BackwardContext& ctx) {
        const Tensor &px = ctx.saved(0), &pw = ctx.saved(1);
        const Tensor dy = ctx.dy().to(px.dtype()).contiguous(format);
        if (ctx.needs(0)) {
          ctx.dx(0) = Tensor::empty(px.shape(), {px.dtype(), format, px.device()});
          conv_backward_data(dy, pw, options, ctx.dx(0));
          end_span(conv_kinds(pw, options).backward_data, {dy, pw, ctx.dx(0)}, direct_multiply_adds(dy, pw));
        }
        if (ctx.needs(1) || ctx.needs(2)) {
          ctx.dx(1) = Tensor::empty(pw.shape(), pw.options());
          if (biased) ctx.dx(2) = Tensor::empty({pw.size(0)}, {.dtype = type, .device = pw.device()});
          conv_backward_weights(px, dy, options, ctx.dx(1), ctx.dx(2));
          end_span(conv_kinds(pw, options).backward_weights, {px, dy, ctx.dx(1)}, direct_multiply_adds(dy, pw));
        }
      });
  return y;
}

}  // namespace tidepool
