#include "models/network.h"

#include <nlohmann/json.hpp>

#include "models/registry.h"
#include "models/stream.h"

namespace tidepool {
namespace {

TracedShape image_shape(const NetworkOptions& options) {
  Dims input = options.input;
  input[0] = 1;
  return TracedShape::of(input);
}

}  // namespace

template <class Each>
std::vector<TracedShape> Network::walk(Trace& trace, const Each& each) const {
  std::vector<TracedShape> shapes(graph_.nodes.size());
  shapes[0] = image_shape(options_);
  for (size_t i = 1; i < graph_.nodes.size(); ++i) {
    const Node& node = graph_.nodes[i];
    std::vector<TracedShape> x;
    std::vector<Dims> dims;
    for (const int32_t input : node.inputs) {
      x.push_back(shapes[static_cast<size_t>(input)]);
      dims.push_back(x.back().dims());
    }
    try {
      each(i, dims);
      shapes[i] = node.op->trace(x, tensors_[i], node.name, trace);
    } catch (const Error& e) {
      throw Error("{}: {}", node.origin, e.what());
    }
  }
  return shapes;
}

Network::Network(Graph graph, const NetworkOptions& options)
    : graph_(std::move(graph)),
      options_(options),
      tensors_(graph_.nodes.size()),
      readers_(graph_.nodes.size(), 0),
      plain_(plain_schedule(graph_)),
      fused_(fused_schedule(graph_)) {
  for (const Node& node : graph_.nodes)
    for (const int32_t input : node.inputs) ++readers_[static_cast<size_t>(input)];
  ++readers_[static_cast<size_t>(graph_.output)];
  Trace unused;
  walk(unused, [&](size_t i, std::span<const Dims> x) {
    const Node& node = graph_.nodes[i];
    for (const ParameterSpec& spec : node.op->parameters(x)) {
      const std::string& owner = spec.kind == ParameterKind::shape ? node.shape_owner : node.name;
      tensors_[i].parameters.push_back(parameter(owner + "." + spec.name, spec));
    }
    const DType dtype = options_.dtype == DType::f64 ? DType::f64 : DType::f32;
    for (const BufferSpec& spec : node.op->buffers(x)) {
      buffers_.push_back({node.name + "." + spec.name, Tensor::full(spec.shape, spec.value, {.dtype = dtype})});
      tensors_[i].buffers.push_back(buffers_.back().value);
    }
  });
}

Tensor Network::parameter(const std::string& name, const ParameterSpec& spec) {
  if (spec.kind == ParameterKind::shape)
    for (const Parameter& p : parameters_)
      if (p.name == name) return p.value;  // of another branch of the slot
  const DType dtype = options_.dtype == DType::f64 ? DType::f64 : DType::f32;
  const Tensor value = Tensor::empty(spec.shape, {.dtype = dtype});
  spec.start(value, options_.seed ^ stream_of(name));
  value.set_requires_grad();
  parameters_.push_back({name, spec.kind, value});
  return value;
}

Trace Network::trace() const {
  Trace trace;
  walk(trace, [](size_t, std::span<const Dims>) {});
  return trace;
}

void Network::project() {
  Trace unused;
  walk(unused, [&](size_t i, std::span<const Dims> x) { graph_.nodes[i].op->project(x, tensors_[i]); });
}

std::vector<std::pair<std::string, Tensor>> Network::state() const {
  std::vector<std::pair<std::string, Tensor>> state;
  for (const Parameter& p : parameters_) state.emplace_back(p.name, p.value);
  for (const Buffer& b : buffers_) state.emplace_back(b.name, b.value);
  return state;
}

std::vector<std::pair<std::string, Dims>> Network::slot_shapes() const {
  Trace unused;
  const std::vector<TracedShape> all = walk(unused, [](size_t, std::span<const Dims>) {});
  std::vector<std::pair<std::string, Dims>> shapes;
  for (const Slot& slot : graph_.slots) {
    const Dims dims = all[static_cast<size_t>(slot.node)].dims();
    shapes.emplace_back(slot.name, Dims(std::span(dims.begin() + 2, dims.end())));
  }
  return shapes;
}

std::vector<std::string> network_names() {
  std::vector<std::string> names;
  for (const NetworkRegistration& n : network_registrations()) names.emplace_back(n.name);
  return names;
}

std::unique_ptr<Network> make_network(const NetworkOptions& options, const Json& pool) {
  if (!(options.width > 0) || options.width > 64)
    throw Error("model.width: expected a number in (0, 64], got {}", options.width);
  if (options.classes < 1) throw Error("model.classes: expected at least 1, got {}", options.classes);
  for (const NetworkRegistration& n : network_registrations())
    if (options.name == n.name) {
      GraphBuilder builder(options, pool);
      return std::make_unique<Network>(n.build(builder), options);
    }
  const auto names = network_names();
  throw Error("model.name: there is no network '{}'{}; there are {}", options.name, did_you_mean(options.name, names),
              fmt::join(names, ", "));
}

}  // namespace tidepool
