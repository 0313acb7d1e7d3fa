// lip: a mean weighted by exponentials of a small network's output, which is learned.
#include <cmath>

#include "core/lane_math.h"
#include "core/tape.h"
#include "layers/activation.h"
#include "layers/conv.h"
#include "layers/init.h"
#include "layers/instance_norm.h"
#include "layers/pool/exponential.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

constexpr PoolText kLipText{
    "lip",
    "y = sum exp(g_i) x_i / sum exp(g_i), g = logit(x): x itself; or 12 sigmoid(norm(conv 3x3(x))); or 12 sigmoid of "
    "1x1, 3x3, 1x1 convolutions with norms, ReLU after the first two",
    "dx_i = sum over windows dy w_i, plus the path through g: dg_i = sum over windows dy w_i (x_i - y)",
    "Gao, Wang, Wu: LIP, Local importance-based pooling, ICCV 2019",
    "Padding is absence, in the window's sums; the published code's averages count it. The norm is instance norm (eps "
    "1e-5); the convolutions pad with zeros."};
constexpr double kHighest = 12;  // of a logit

enum class Logit : uint8_t { identity, simplified, bottleneck };

struct Options : WindowOptions {
  Logit logit = Logit::identity;
  int64_t hidden = 0;

  void keys(Keys& k) {
    WindowOptions::keys(k);
    k.choice("logit", logit, {"identity", "simplified", "bottleneck"}, "The network that gives the logits.");
    k.integer("hidden", hidden, "Channels inside the bottleneck.")
        .otherwise("C/4, at least 1")
        .at_least(0)
        .at_most(1 << 20);
    k.expect(hidden == 0 || logit == Logit::bottleneck, "key 'hidden' means nothing without \"logit\": \"bottleneck\"");
  }
};

/// logit = identity: the logits are x.
struct ByItself : SoftWindow {
  static constexpr PoolText kText = kLipText;
};

/// The logits are 12 times another map, of x's shape and layout, in the type of x's sums.
struct ByAnother {
  static constexpr PoolText kText = kLipText;
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr int kState = 4;  // max x; y - max x; max g; 1 / sum exp(g - max g)
  const void* gates = nullptr;
  bool of_gates = false;  ///< `backward` gives the gradient of the other map

  template <class V, class W>
  TP_HD TP_INLINE V logit(const W& x, int64_t offset) const {
    return x.at(static_cast<const Acc<typename W::Element>*>(gates), offset) * splat<V>(Lane<V>(kHighest));
  }
  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    const V m = x.max();
    V top = splat<V>(-INFINITY), sums[2];
    x.each_position([&](int64_t offset, int32_t) { top = max_nan(top, logit<V>(x, offset)); });
    x.totals_of_positions(sums, [&](int64_t offset, int32_t, V(&part)[2]) {
      const V w = exp_lanes(logit<V>(x, offset) - top);
      part[0] = part[0] + w;
      part[1] = part[1] + w * (x.at(offset) - m);
    });
    Pooled<V, kState> p;
    p.state[0] = m;
    p.state[2] = top;
    p.state[3] = splat<V>(1) / sums[0];
    p.state[1] = sums[1] * p.state[3];
    p.y = m + p.state[1];
    return p;
  }
  template <class V, class E>
  TP_HD TP_INLINE V backward(V dy, V x_i, const E& at, const Pooled<V, kState>& p) const {
    const V w = exp_lanes(logit<V>(at.window, at.offset) - p.state[2]) * p.state[3];
    if (!of_gates) return dy * w;
    return dy * w * ((x_i - p.state[0]) - p.state[1]) * splat<V>(Lane<V>(kHighest));
  }
};

/// t in another type, with a gradient.
Tensor cast(const Tensor& t, DType type) {
  if (t.dtype() == type) return t;
  const Tensor y = t.to(type);
  const DType from = t.dtype();
  Tape::record("cast", {t}, {y}, {}, [from](BackwardContext& ctx) { ctx.dx(0) = ctx.dy().to(from); });
  return y;
}

/// The window's part: y of x and the gates.
Tensor weighted(const std::array<WindowAxis, 3>& axes, const Tensor& x, const Tensor& gates_) {
  const MemoryFormat format = x.format();
  const Tensor dense = x.contiguous(format), gates = gates_.contiguous(format);
  const WindowGeometry g{axes, MapLayout::of(x.shape(), format)};
  const Tensor y = Tensor::empty(pooled_shape(x.shape(), x.size(1), axes), {x.dtype(), format, x.device()});
  window::reduce(ByAnother{.gates = gates.raw()}, {}, g, dense, y, {}, {});
  Tape::record(kLipText.name, {x, gates_}, {y}, {dense, gates}, [g, format](BackwardContext& ctx) {
    const Tensor &elements = ctx.saved(0), &saved = ctx.saved(1), dy = ctx.dy().contiguous(format);
    for (size_t i = 0; i < 2; ++i) {
      if (!ctx.needs(i)) continue;
      const Tensor d = Tensor::empty(elements.shape(), {dy.dtype(), format, dy.device()});
      window::backward(ByAnother{.gates = saved.raw(), .of_gates = i == 1}, {}, g, elements, {}, dy, d);
      ctx.dx(i) = i == 1 ? d.to(saved.dtype()) : d;
    }
  });
  return y;
}

class Lip final : public PoolOperator {
 public:
  explicit Lip(const Options& options) : options_(options) {}

  std::vector<ParameterSpec> parameters(const Dims& x) const override {
    options_.axes(kLipText.name, x);
    std::vector<ParameterSpec> specs;
    for (const Layer& l : layers(x)) {
      specs.push_back({.name = fmt::format("logit.conv{}.weight", l.number),
                       .shape = {l.out, l.in, l.kernel, l.kernel},
                       .kind = ParameterKind::weight,
                       .init = he_normal(static_cast<double>(l.out * l.kernel * l.kernel))});
      for (const bool scale : {true, false})
        specs.push_back({.name = fmt::format("logit.norm{}.{}", l.number, scale ? "weight" : "bias"),
                         .shape = {l.out},
                         .kind = ParameterKind::norm,
                         .init = constant_init(scale ? 1.0 : 0.0)});
    }
    return specs;
  }
  Dims output_shape(const Dims& x, std::span<const Tensor> tensors) const override {
    expect_parameters(kLipText.name, parameters(x), tensors);
    return pooled_shape(x, x[1], options_.axes(kLipText.name, x));
  }
  bool wants_room(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const override {
    return options_.logit != Logit::identity;
  }
  Tensor run(const Tensor& x, std::span<const Tensor> tensors, const PoolMode& mode) const override {
    output_shape(x.shape(), tensors);
    if (!is_floating(x.dtype())) throw Error("[lip] expected a tensor of f32, f64 or bf16, got {}", name_of(x.dtype()));
    const auto axes = options_.axes(kLipText.name, x.shape());
    const std::vector<Layer> network = layers(x.shape());
    if (network.empty()) return window_pool(ByItself{}, axes, x);
    // In f32 for a bf16 map: a logit's rounding would weigh twelvefold in an exponent.
    const DType type = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
    Tensor map = cast(x, type);
    for (size_t i = 0; i < network.size(); ++i) {
      ConvOptions o{.exact = mode.exact};
      o.padding = {network[i].kernel / 2, network[i].kernel / 2, 0};
      map = convolution(map, cast(tensors[3 * i], type), {}, o);
      map = instance_norm(map, cast(tensors[3 * i + 1], type), cast(tensors[3 * i + 2], type));
      map = i + 1 < network.size() ? relu(map) : sigmoid(map);
    }
    return weighted(axes, x, map);
  }
  TracedShape trace(const TracedShape& x, std::span<const Tensor> tensors, const std::string& name,
                    Trace& trace) const override {
    expect_parameters(kLipText.name, parameters(x.dims()), tensors);
    Dims map = x.dims();
    for (const Layer& l : layers(x.dims())) {
      ConvOptions o;
      o.padding = {l.kernel / 2, l.kernel / 2, 0};
      const Dims weight{l.out, l.in, l.kernel, l.kernel};
      TracedShape y = x;
      y.c = l.out;
      trace.layers.push_back({.name = fmt::format("{}.logit.conv{}", name, l.number),
                              .kind = "conv",
                              .output = y,
                              .parameters = weight.product() + 2 * l.out,
                              .macs_per_position = weight.product(),
                              .convolution = TracedConvolution{map, weight, o}});
      map[1] = l.out;
    }
    return options_.trace(kLipText.name, x);
  }

 private:
  struct Layer {
    std::string number;  ///< "" where there is one
    int64_t in, out, kernel;
  };
  std::vector<Layer> layers(const Dims& x) const {
    if (options_.logit == Logit::identity) return {};
    expect_rank(kLipText.name, x, {2});
    const int64_t c = x[1], hidden = options_.hidden > 0 ? options_.hidden : std::max<int64_t>(1, c / 4);
    if (options_.logit == Logit::simplified) return {{"", c, c, 3}};
    return {{"1", c, hidden, 1}, {"2", hidden, hidden, 3}, {"3", hidden, c, 1}};
  }

  Options options_;
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_lip() {
  static const PoolDescription description = describe_pool<Lip, Options>(
      {.name = kLipText.name,
       .ranks = {1, 2, 3},
       .parameters = {"logit.conv.weight", "logit.norm.weight", "logit.norm.bias", "logit.conv1.weight",
                      "logit.norm1.weight", "logit.norm1.bias", "logit.conv2.weight", "logit.norm2.weight",
                      "logit.norm2.bias", "logit.conv3.weight", "logit.norm3.weight", "logit.norm3.bias"},
       .formula = kLipText.formula,
       .gradient = kLipText.gradient,
       .source = kLipText.source,
       .notes = kLipText.notes,
       .keeps = "x; with a network also its maps, in f32 at least"});
  return description;
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
