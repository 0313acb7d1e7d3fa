// conv: a strided convolution in a resize slot; what every pooling paper compares with.
#include "layers/conv.h"

#include "layers/init.h"
#include "layers/pool/compiled_for.h"
#include "layers/pool/geometry.h"
#include "layers/pool/operator.h"

namespace tidepool {
namespace {

constexpr const char* kName = "conv";

struct Options : WindowOptions {
  int64_t channels = 0;
  bool bias = true;

  void keys(Keys& k) {
    common_keys(k);
    k.integer("channels", channels, "Channels of the output.").otherwise("as x").at_least(0).at_most(1 << 20);
    k.flag("bias", bias, "Whether a bias is added.");
  }
};

class Conv final : public PoolOperator {
 public:
  explicit Conv(const Options& options) : options_(options) {}

  std::vector<ParameterSpec> parameters(const Dims& x) const override {
    const auto axes = options_.axes(kName, x);
    const int64_t out = options_.channels > 0 ? options_.channels : x[1];
    Dims shape = x;
    shape[0] = out;
    double fan_out = static_cast<double>(out);
    for (int i = 2; i < x.rank(); ++i) {
      shape[i] = axes[static_cast<size_t>(3 - x.rank() + i)].k;
      fan_out *= static_cast<double>(shape[i]);
    }
    std::vector<ParameterSpec> specs{
        {.name = "weight", .shape = shape, .kind = ParameterKind::weight, .init = he_normal(fan_out)}};
    if (options_.bias)
      specs.push_back({.name = "bias", .shape = {out}, .kind = ParameterKind::bias, .init = constant_init(0)});
    return specs;
  }
  Dims output_shape(const Dims& x, std::span<const Tensor> tensors) const override {
    expect_parameters(kName, parameters(x), tensors);
    return pooled_shape(x, tensors[0].size(0), options_.axes(kName, x));
  }
  bool wants_room(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const override { return true; }
  Tensor run(const Tensor& x, std::span<const Tensor> tensors, const PoolMode& mode) const override {
    expect_parameters(kName, parameters(x.shape()), tensors);
    ConvOptions o = convolution_options(x.shape());
    o.exact = mode.exact;
    return convolution(x, tensors[0], options_.bias ? tensors[1] : Tensor{}, o);
  }
  TracedShape trace(const TracedShape& x, std::span<const Tensor> tensors, const std::string& name,
                    Trace& trace) const override {
    expect_parameters(kName, parameters(x.dims()), tensors);
    const auto axes = options_.axes(kName, x.dims());
    TracedShape y{.n = x.n, .c = tensors[0].size(0), .lengths = {}};
    for (size_t i = 0; i < x.lengths.size(); ++i) {
      const WindowAxis& a = axes[3 - x.lengths.size() + i];
      y.lengths.push_back(x.lengths[i].then(a.m, 1.0 / a.s));
    }
    int64_t count = 0;
    for (const Tensor& t : tensors) count += t.numel();
    trace.layers.push_back(
        {.name = name,
         .kind = kName,
         .output = y,
         .parameters = count,
         .macs_per_position = tensors[0].numel(),
         .convolution = TracedConvolution{x.dims(), tensors[0].shape(), convolution_options(x.dims())}});
    return y;
  }

 private:
  ConvOptions convolution_options(const Dims& x) const {
    const auto axes = options_.axes(kName, x);
    ConvOptions o;
    for (size_t i = 0; i + 2 < static_cast<size_t>(x.rank()); ++i) {
      const WindowAxis& a = axes[5 - static_cast<size_t>(x.rank()) + i];
      o.stride[i] = a.s;
      o.padding[i] = a.p;
      o.dilation[i] = a.d;
    }
    return o;
  }

  Options options_;
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_conv() {
  static const PoolDescription description = describe_pool<Conv, Options>(
      {.name = kName,
       .ranks = {1, 2, 3},
       .parameters = {"weight", "bias"},
       .formula = "y_o = bias_o + sum over c, k of weight_ock x_c at the window's positions; absent positions are 0",
       .gradient = "that of the formula",
       .source = "Springenberg et al.: Striving for simplicity, ICLR 2015 workshop",
       .keeps = "x"});
  return description;
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
