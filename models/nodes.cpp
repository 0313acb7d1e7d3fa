#include "models/nodes.h"

#include <nlohmann/json.hpp>

#include "core/onnx.h"
#include "core/tape.h"
#include "layers/add.h"
#include "layers/concat.h"
#include "layers/dropout.h"
#include "layers/gate.h"
#include "layers/global_avg.h"
#include "layers/init.h"
#include "layers/linear.h"
#include "layers/pool/onnx.h"
#include "layers/pool/outside.h"
#include "layers/resize.h"
#include "layers/stochastic_depth.h"

namespace tidepool {
namespace {

int64_t count_of(std::span<const Tensor> tensors) {
  int64_t count = 0;
  for (const Tensor& t : tensors) count += t.numel();
  return count;
}

// A node whose row says its shape and its parameters alone.
TracedShape row(Trace& trace, const std::string& name, const std::string& kind, const TracedShape& y,
                int64_t parameters = 0) {
  trace.layers.push_back({.name = name, .kind = kind, .output = y, .parameters = parameters});
  return y;
}

onnx::Value resize_as_onnx(const onnx::Value& x, const Dims& shape, const Dims& size, bool bilinear) {
  if (Dims(std::span(shape.begin() + 2, shape.end())) == size) return x;
  if (!bilinear) {  // floor(o n / m): Resize rounds n / m
    onnx::Value y = x;
    for (int i = 0; i < size.rank(); ++i) {
      std::vector<int64_t> from;
      for (int64_t o = 0; o < size[i]; ++o) from.push_back(o * shape[2 + i] / size[i]);
      y = onnx::gather(y, 2 + i, x.graph->integers(from));
    }
    return y;
  }
  std::vector<int64_t> axes;
  for (int i = 0; i < size.rank(); ++i) axes.push_back(2 + i);
  const onnx::Value absent{x.graph, ""}, sizes = x.graph->integers({size.begin(), size.end()});
  return x.graph->node(
      "Resize", {x, absent, absent, sizes},
      {{"mode", std::string("linear")}, {"coordinate_transformation_mode", std::string("half_pixel")}, {"axes", axes}});
}

}  // namespace

// -- convolution

ConvNode::ConvNode(const ConvSpec& spec, bool exact)
    : out_(spec.out), kernel_(spec.kernel), bias_(spec.bias), weight_init_(spec.weight_init) {
  const int64_t padding = spec.padding < 0 ? (spec.kernel - 1) / 2 : spec.padding;
  options_ = {.stride = {spec.stride, spec.stride, spec.stride},
              .padding = {padding, padding, padding},
              .groups = spec.groups,
              .exact = exact};
}

std::vector<ParameterSpec> ConvNode::parameters(std::span<const Dims> x) const {
  // As torchvision starts its networks (He et al. 2015): by the outputs of a kernel, groups not counted.
  std::vector<ParameterSpec> specs{
      {.name = "weight",
       .shape = {out_, x[0][1] / options_.groups, kernel_, kernel_},
       .kind = ParameterKind::weight,
       .init = weight_init_ ? weight_init_ : he_normal(static_cast<double>(out_ * kernel_ * kernel_)),
       .filters = true}};
  if (bias_) specs.push_back({.name = "bias", .shape = {out_}, .kind = ParameterKind::bias, .init = constant_init(0)});
  return specs;
}

Tensor ConvNode::run(std::span<const Tensor> x, const NodeTensors& tensors, const ForwardMode& /*mode*/) const {
  return convolution(x[0], tensors.parameters[0], bias_ ? tensors.parameters[1] : Tensor{}, options_);
}

TracedShape ConvNode::trace(std::span<const TracedShape> x, const NodeTensors& tensors, const std::string& name,
                            Trace& trace) const {
  const Tensor& weight = tensors.parameters[0];
  const Dims y = convolution_shape(x[0].dims(), weight.shape(), options_);
  TracedShape out{.n = y[0], .c = y[1], .lengths = {}};
  for (size_t i = 0; i < x[0].lengths.size(); ++i)
    out.lengths.push_back(
        x[0].lengths[i].then(y[2 + static_cast<int>(i)], 1.0 / static_cast<double>(options_.stride[i])));
  trace.layers.push_back({.name = name,
                          .kind = kind(),
                          .output = out,
                          .parameters = count_of(tensors.parameters),
                          .macs_per_position = weight.numel(),
                          .convolution = {{x[0].dims(), weight.shape(), options_}}});
  return out;
}

onnx::Value ConvNode::to_onnx(onnx::Graph& g, std::span<const onnx::Value> x, std::span<const Dims> shapes,
                              const NodeTensors& tensors) const {
  const auto rank = static_cast<std::ptrdiff_t>(shapes[0].rank() - 2);
  const auto axes = [&](const std::array<int64_t, 3>& of) {
    return std::vector<int64_t>(of.begin(), of.begin() + rank);
  };
  std::vector<int64_t> pads = axes(options_.padding);
  for (const int64_t after : axes(options_.padding)) pads.push_back(after);
  std::vector<onnx::Value> inputs{x[0], g.constant(tensors.parameters[0], "weight")};
  if (bias_) inputs.push_back(g.constant(tensors.parameters[1], "bias"));
  return g.node("Conv", inputs,
                {{"strides", axes(options_.stride)},
                 {"pads", pads},
                 {"dilations", axes(options_.dilation)},
                 {"group", options_.groups}});
}

// -- batch norm, activation

std::vector<ParameterSpec> BatchNormNode::parameters(std::span<const Dims> x) const {
  const Dims shape{x[0][1]};
  return {{"weight", shape, ParameterKind::norm, constant_init(1)},
          {"bias", shape, ParameterKind::norm, constant_init(0)}};
}

std::vector<BufferSpec> BatchNormNode::buffers(std::span<const Dims> x) const {
  return {{"running_mean", {x[0][1]}, 0}, {"running_var", {x[0][1]}, 1}};
}

Tensor BatchNormNode::run(std::span<const Tensor> x, const NodeTensors& tensors, const ForwardMode& mode) const {
  return batch_norm(x[0], tensors.parameters[0], tensors.parameters[1], tensors.buffers[0], tensors.buffers[1],
                    options(mode.training, Act::none));
}

onnx::Value BatchNormNode::to_onnx(onnx::Graph& g, std::span<const onnx::Value> x, std::span<const Dims> /*shapes*/,
                                   const NodeTensors& tensors) const {
  return g.node("BatchNormalization",
                {x[0], g.constant(tensors.parameters[0], "weight"), g.constant(tensors.parameters[1], "bias"),
                 g.constant(tensors.buffers[0], "running_mean"), g.constant(tensors.buffers[1], "running_var")},
                {{"epsilon", eps_}});
}

TracedShape BatchNormNode::trace(std::span<const TracedShape> x, const NodeTensors& tensors, const std::string& name,
                                 Trace& trace) const {
  row(trace, name, kind(), x[0], count_of(tensors.parameters));
  trace.layers.back().batch_statistics = true;
  return x[0];
}

Tensor ActivationNode::run(std::span<const Tensor> x, const NodeTensors& /*tensors*/,
                           const ForwardMode& /*mode*/) const {
  return tidepool::activation(x[0], act_);
}

TracedShape ActivationNode::trace(std::span<const TracedShape> x, const NodeTensors& /*tensors*/,
                                  const std::string& name, Trace& trace) const {
  return row(trace, name, kind(), x[0]);
}

onnx::Value ActivationNode::to_onnx(onnx::Graph& g, std::span<const onnx::Value> x, std::span<const Dims> /*shapes*/,
                                    const NodeTensors& /*tensors*/) const {
  switch (act_) {
    case Act::none:
      return x[0];
    case Act::relu:
      return onnx::relu(x[0]);
    case Act::relu6:
      return g.node("Clip", {x[0], g.number(0), g.number(6)});
    case Act::silu:
      return x[0] * onnx::sigmoid(x[0]);
    case Act::hardswish:
      return g.node("HardSwish", {x[0]});
    case Act::sigmoid:
      return onnx::sigmoid(x[0]);
  }
  throw Error("{} has no ONNX form: it cannot be exported", name_of(act_));
}

// -- pooling

PoolNode::PoolNode(const Json& config, bool exact) : config_(config), exact_(exact) {
  const nlohmann::json plain = config;
  op_ = make_pool_operator(plain);
  kind_ = plain.at("type").get<std::string>();
  if (!find_pool_operator(kind_).resizes)
    throw Error("[{}] does not resize a map: it cannot stand in a network's resize slot", kind_);
}

bool PoolNode::needs_step() const {
  const nlohmann::json plain = config_;
  return draws_in_training(plain);
}

PoolMode PoolNode::pool_mode(const ForwardMode& mode) const {
  return {.training = mode.training, .seed = mode.seed, .step = mode.step, .exact = exact_};
}

Tensor PoolNode::run(std::span<const Tensor> x, const NodeTensors& tensors, const ForwardMode& mode) const {
  return op_->forward(x[0], tensors.parameters, pool_mode(mode));
}

TracedShape PoolNode::trace(std::span<const TracedShape> x, const NodeTensors& tensors, const std::string& name,
                            Trace& trace) const {
  const size_t before = trace.layers.size();
  const TracedShape y = op_->trace(x[0], tensors.parameters, name, trace);
  if (y.lengths.size() != x[0].lengths.size() || y.c != x[0].c)
    throw Error("[{}] does not resize a map of shape {}: it gives {}", kind_, x[0].dims().str(), y.dims().str());
  int64_t rest = count_of(tensors.parameters);
  for (size_t i = before; i < trace.layers.size(); ++i) {
    if (trace.layers[i].name == name) return y;
    rest -= trace.layers[i].parameters;  // of a convolution inside it, which has a row of its own
  }
  return row(trace, name, kind_, y, rest);
}

onnx::Value PoolNode::to_onnx(onnx::Graph& g, std::span<const onnx::Value> x, std::span<const Dims> shapes,
                              const NodeTensors& tensors) const {
  return pool_as_onnx(g, x[0], shapes[0], config_, *op_, tensors.parameters);
}

void PoolNode::project(std::span<const Dims> x, const NodeTensors& tensors) const {
  op_->project(tensors.parameters, x[0]);
}

// -- the others

namespace {

class LinearNode final : public NodeOperator {
 public:
  LinearNode(int64_t out, std::function<void(const Tensor&, uint64_t)> init) : out_(out), init_(std::move(init)) {}
  std::string kind() const override { return "linear"; }
  std::vector<ParameterSpec> parameters(std::span<const Dims> x) const override {
    return {{"weight", {out_, x[0][1]}, ParameterKind::weight, init_ ? init_ : normal_init(0.01)},
            {"bias", {out_}, ParameterKind::bias, constant_init(0)}};
  }
  Tensor run(std::span<const Tensor> x, const NodeTensors& tensors, const ForwardMode& /*mode*/) const override {
    return linear(x[0], tensors.parameters[0], tensors.parameters[1]);
  }
  TracedShape trace(std::span<const TracedShape> x, const NodeTensors& tensors, const std::string& name,
                    Trace& trace) const override {
    const TracedShape out{.n = x[0].n, .c = out_, .lengths = {}};
    trace.layers.push_back({.name = name,
                            .kind = kind(),
                            .output = out,
                            .parameters = count_of(tensors.parameters),
                            .macs_per_position = tensors.parameters[0].numel()});
    return out;
  }
  onnx::Value to_onnx(onnx::Graph& g, std::span<const onnx::Value> x, std::span<const Dims> /*shapes*/,
                      const NodeTensors& tensors) const override {
    return g.node("Gemm",
                  {x[0], g.constant(tensors.parameters[0], "weight"), g.constant(tensors.parameters[1], "bias")},
                  {{"transB", int64_t{1}}});
  }

 private:
  int64_t out_;
  std::function<void(const Tensor&, uint64_t)> init_;
};

class GlobalAvgNode final : public NodeOperator {
 public:
  explicit GlobalAvgNode(bool keep_rank) : keep_rank_(keep_rank) {}
  std::string kind() const override { return "global_avg"; }
  Tensor run(std::span<const Tensor> x, const NodeTensors& /*tensors*/, const ForwardMode& /*mode*/) const override {
    const Tensor y = global_avg(x[0]);
    if (!keep_rank_) return y;
    Dims shape = x[0].shape();
    for (int i = 2; i < shape.rank(); ++i) shape[i] = 1;
    const Tensor map = y.reshape(shape);
    Tape::record("reshape", {y}, {map}, {}, [flat = y.shape()](BackwardContext& ctx) {
      ctx.dx(0) = ctx.dy().contiguous(MemoryFormat::plain).reshape(flat);
    });
    return map;
  }
  TracedShape trace(std::span<const TracedShape> x, const NodeTensors& /*tensors*/, const std::string& name,
                    Trace& trace) const override {
    TracedShape y{.n = x[0].n, .c = x[0].c, .lengths = {}};
    if (keep_rank_) y.lengths.assign(x[0].lengths.size(), TracedLength{.value = 1, .slopes = {}});
    return row(trace, name, kind(), y);
  }
  onnx::Value to_onnx(onnx::Graph& g, std::span<const onnx::Value> x, std::span<const Dims> /*shapes*/,
                      const NodeTensors& /*tensors*/) const override {
    const onnx::Value y = g.node("GlobalAveragePool", {x[0]});
    return keep_rank_ ? y : g.node("Flatten", {y});
  }

 private:
  bool keep_rank_;
};

// A map as a vector, in the order of torch.flatten: channels, rows, columns.
class FlattenNode final : public NodeOperator {
 public:
  std::string kind() const override { return "flatten"; }
  Tensor run(std::span<const Tensor> x, const NodeTensors& /*tensors*/, const ForwardMode& /*mode*/) const override {
    const Dims shape = x[0].shape();
    const MemoryFormat format = x[0].format();
    int64_t elements = 1;  // of an image; there may be none
    for (int i = 1; i < shape.rank(); ++i) elements *= shape[i];
    const Tensor y = x[0].contiguous(MemoryFormat::plain).reshape({shape[0], elements});
    Tape::record("flatten", {x[0]}, {y}, {}, [shape, format](BackwardContext& ctx) {
      ctx.dx(0) = ctx.dy().contiguous(MemoryFormat::plain).reshape(shape).contiguous(format);
    });
    return y;
  }
  TracedShape trace(std::span<const TracedShape> x, const NodeTensors& /*tensors*/, const std::string& name,
                    Trace& trace) const override {
    TracedShape y{.n = x[0].n, .c = x[0].c, .lengths = {}};
    for (const TracedLength& length : x[0].lengths) y.c *= length.value;
    return row(trace, name, kind(), y);
  }
  onnx::Value to_onnx(onnx::Graph& g, std::span<const onnx::Value> x, std::span<const Dims> /*shapes*/,
                      const NodeTensors& /*tensors*/) const override {
    return g.node("Flatten", {x[0]});
  }
};

class DropoutNode final : public NodeOperator {
 public:
  DropoutNode(double p, bool of_images) : p_(p), of_images_(of_images) {}
  std::string kind() const override { return of_images_ ? "stochastic_depth" : "dropout"; }
  Tensor run(std::span<const Tensor> x, const NodeTensors& /*tensors*/, const ForwardMode& mode) const override {
    if (!mode.training) return x[0];
    return of_images_ ? stochastic_depth(x[0], p_, mode.seed, mode.step, mode.counter)
                      : dropout(x[0], p_, mode.seed, mode.step, mode.counter);
  }
  TracedShape trace(std::span<const TracedShape> x, const NodeTensors& /*tensors*/, const std::string& name,
                    Trace& trace) const override {
    return row(trace, name, kind(), x[0]);
  }
  onnx::Value to_onnx(onnx::Graph& /*graph*/, std::span<const onnx::Value> x, std::span<const Dims> /*shapes*/,
                      const NodeTensors& /*tensors*/) const override {
    return x[0];
  }

 private:
  double p_;
  bool of_images_;
};

// Of maps alone, without parameters: `apply` of the inputs; the result has the first one's lengths.
template <class F, class Form>
class MapNode final : public NodeOperator {
 public:
  MapNode(const char* kind, F apply, Form form) : kind_(kind), apply_(apply), form_(form) {}
  std::string kind() const override { return kind_; }
  Tensor run(std::span<const Tensor> x, const NodeTensors& /*tensors*/, const ForwardMode& /*mode*/) const override {
    return apply_(x);
  }
  TracedShape trace(std::span<const TracedShape> x, const NodeTensors& /*tensors*/, const std::string& name,
                    Trace& trace) const override {
    return row(trace, name, kind_, x[0]);
  }
  onnx::Value to_onnx(onnx::Graph& /*graph*/, std::span<const onnx::Value> x, std::span<const Dims> /*shapes*/,
                      const NodeTensors& /*tensors*/) const override {
    return form_(x);
  }

 private:
  const char* kind_;
  F apply_;
  Form form_;
};

template <class F, class Form>
std::unique_ptr<NodeOperator> map_node(const char* kind, F apply, Form form) {
  return std::make_unique<MapNode<F, Form>>(kind, apply, form);
}

// To a size, or to that of the second input.
class ResizeNode final : public NodeOperator {
 public:
  ResizeNode(std::optional<Dims> size, bool bilinear) : size_(std::move(size)), bilinear_(bilinear) {}
  std::string kind() const override { return "resize"; }
  Tensor run(std::span<const Tensor> x, const NodeTensors& /*tensors*/, const ForwardMode& /*mode*/) const override {
    const Dims size = size_ ? *size_ : spatial(x[1].shape());
    return resize(x[0], size, bilinear_ ? ResizeMode::bilinear : ResizeMode::nearest);
  }
  TracedShape trace(std::span<const TracedShape> x, const NodeTensors& /*tensors*/, const std::string& name,
                    Trace& trace) const override {
    TracedShape y = x[0];
    y.lengths.clear();
    if (size_)
      for (const int64_t n : *size_) y.lengths.push_back({.value = n, .slopes = {}});
    else
      y.lengths = x[1].lengths;
    return row(trace, name, kind(), y);
  }
  onnx::Value to_onnx(onnx::Graph& /*graph*/, std::span<const onnx::Value> x, std::span<const Dims> shapes,
                      const NodeTensors& /*tensors*/) const override {
    return resize_as_onnx(x[0], shapes[0], size_ ? *size_ : spatial(shapes[1]), bilinear_);
  }

 private:
  static Dims spatial(const Dims& map) { return Dims(std::span(map.begin() + 2, map.end())); }

  std::optional<Dims> size_;
  bool bilinear_;
};

class ConcatNode final : public NodeOperator {
 public:
  std::string kind() const override { return "concat"; }
  Tensor run(std::span<const Tensor> x, const NodeTensors& /*tensors*/, const ForwardMode& /*mode*/) const override {
    return concat(x);
  }
  TracedShape trace(std::span<const TracedShape> x, const NodeTensors& /*tensors*/, const std::string& name,
                    Trace& trace) const override {
    TracedShape y = x[0];
    for (size_t i = 1; i < x.size(); ++i) y.c += x[i].c;
    return row(trace, name, kind(), y);
  }
  onnx::Value to_onnx(onnx::Graph& g, std::span<const onnx::Value> x, std::span<const Dims> /*shapes*/,
                      const NodeTensors& /*tensors*/) const override {
    return g.node("Concat", {x.begin(), x.end()}, {{"axis", int64_t{1}}});
  }
};

}  // namespace

std::unique_ptr<NodeOperator> linear_node(int64_t out, std::function<void(const Tensor&, uint64_t seed)> weight_init) {
  return std::make_unique<LinearNode>(out, std::move(weight_init));
}
std::unique_ptr<NodeOperator> global_avg_node(bool keep_rank) {
  return std::make_unique<GlobalAvgNode>(keep_rank);
}
std::unique_ptr<NodeOperator> flatten_node() {
  return std::make_unique<FlattenNode>();
}
std::unique_ptr<NodeOperator> dropout_node(double p) {
  return std::make_unique<DropoutNode>(p, false);
}
std::unique_ptr<NodeOperator> stochastic_depth_node(double p) {
  return std::make_unique<DropoutNode>(p, true);
}
std::unique_ptr<NodeOperator> add_node() {
  return map_node(
      "add", [](std::span<const Tensor> x) { return add_maps(x[0], x[1]); },
      [](std::span<const onnx::Value> x) { return x[0] + x[1]; });
}
std::unique_ptr<NodeOperator> gate_node() {
  return map_node(
      "gate", [](std::span<const Tensor> x) { return gate(x[0], x[1]); },
      [](std::span<const onnx::Value> x) { return x[0] * x[1]; });
}
std::unique_ptr<NodeOperator> concat_node() {
  return std::make_unique<ConcatNode>();
}
std::unique_ptr<NodeOperator> resize_node(std::optional<Dims> size, bool bilinear) {
  return std::make_unique<ResizeNode>(std::move(size), bilinear);
}

}  // namespace tidepool
