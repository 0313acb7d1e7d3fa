// space_to_depth: every block of positions becomes channels, which a 1x1 convolution mixes: nothing is thrown away. The
// two together are one convolution whose kernel and stride are the block.
#include "core/tape.h"
#include "layers/conv.h"
#include "layers/init.h"
#include "layers/pool/compiled_for.h"
#include "layers/pool/geometry.h"
#include "layers/pool/operator.h"

namespace tidepool {
namespace {

constexpr const char* kName = "space_to_depth";

struct Options {
  int64_t block = 2, channels = 0;

  void keys(Keys& k) {
    k.integer("block", block, "Length and width of a block.").at_least(1).at_most(1 << 10);
    k.integer("channels", channels, "Channels of the output.").otherwise("as x").at_least(0).at_most(1 << 20);
  }
};

class SpaceToDepth final : public PoolOperator {
 public:
  explicit SpaceToDepth(const Options& options) : options_(options) {}

  std::vector<ParameterSpec> parameters(const Dims& x) const override {
    expect_rank(kName, x, {2});
    const int64_t out = options_.channels > 0 ? options_.channels : x[1];
    return {{.name = "weight",
             .shape = {out, x[1] * options_.block * options_.block, 1, 1},
             .kind = ParameterKind::weight,
             .init = he_normal(static_cast<double>(out))}};
  }
  Dims output_shape(const Dims& x, std::span<const Tensor> tensors) const override {
    expect_parameters(kName, parameters(x), tensors);
    expect_positions(kName, x);
    const int64_t b = options_.block;
    if (x[2] % b != 0 || x[3] % b != 0)
      throw Error("[space_to_depth] expected a map of multiples of the block {}, got {}x{}", b, x[2], x[3]);
    return {x[0], tensors[0].size(0), x[2] / b, x[3] / b};
  }
  bool wants_room(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const override { return true; }
  Tensor run(const Tensor& x, std::span<const Tensor> tensors, const PoolMode& /*mode*/) const override {
    output_shape(x.shape(), tensors);
    const MemoryFormat format = x.format();
    const Tensor in = x.contiguous(format), w = tensors[0].contiguous(MemoryFormat::plain);
    const ConvOptions o = convolution_options();
    const Dims k = kernel(x.shape());
    Tensor y;
    {
      const Tape::Scope none(nullptr);
      y = convolution(in, w.reshape(k), {}, o);
    }
    Tape::record(kName, {x, tensors[0]}, {y}, {in, w}, [o, k, format](BackwardContext& ctx) {
      const Tensor &px = ctx.saved(0), &pw = ctx.saved(1);
      const Tensor dy = ctx.dy().contiguous(format);
      if (ctx.needs(0)) {
        ctx.dx(0) = Tensor::empty(px.shape(), {px.dtype(), format, px.device()});
        conv_backward_data(dy, pw.reshape(k), o, ctx.dx(0));
      }
      if (ctx.needs(1)) {
        const Tensor dw = Tensor::empty(k, {pw.dtype(), MemoryFormat::plain, pw.device()});
        conv_backward_weights(px, dy, o, dw, {});
        ctx.dx(1) = dw.reshape(pw.shape());
      }
    });
    return y;
  }
  TracedShape trace(const TracedShape& x, std::span<const Tensor> tensors, const std::string& name,
                    Trace& trace) const override {
    const Dims out = output_shape(x.dims(), tensors);
    TracedShape y{.n = x.n, .c = out[1], .lengths = {}};
    for (size_t i = 0; i < 2; ++i)
      y.lengths.push_back(x.lengths[i].then(out[2 + static_cast<int>(i)], 1.0 / static_cast<double>(options_.block)));
    trace.layers.push_back({.name = name,
                            .kind = kName,
                            .output = y,
                            .parameters = tensors[0].numel(),
                            .macs_per_position = tensors[0].numel(),
                            .convolution = TracedConvolution{x.dims(), kernel(x.dims()), convolution_options()}});
    return y;
  }

 private:
  /// The weight as the convolution has it: channel (c b + i) b + j of the unshuffled map is position (i, j) of channel
  /// c.
  Dims kernel(const Dims& x) const {
    return {options_.channels > 0 ? options_.channels : x[1], x[1], options_.block, options_.block};
  }
  ConvOptions convolution_options() const {
    ConvOptions o;
    o.stride = {options_.block, options_.block, 1};
    return o;
  }

  Options options_;
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_space_to_depth() {
  static const PoolDescription description = describe_pool<SpaceToDepth, Options>(
      {.name = kName,
       .ranks = {2},
       .parameters = {"weight"},
       .formula =
           "u of C b b channels: u_((c b + i) b + j) at (h, w) = x_c at (h b + i, w b + j);  y_o = sum weight_ou u",
       .gradient = "that of the formula",
       .source = "Sunkara, Luo: No more strided convolutions or pooling, ECML PKDD 2022",
       .keeps = "x"});
  return description;
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
