#include "models/export.h"

#include <nlohmann/json.hpp>

namespace tidepool {

void export_onnx(const Network& network, onnx::Graph& graph, const std::optional<PixelNormalisation>& first) {
  const std::vector<Node>& nodes = network.graph().nodes;
  std::vector<onnx::Value> values(nodes.size());
  std::vector<TracedShape> shapes(nodes.size());
  Dims image = network.options().input;
  image[0] = 1;
  shapes[0] = TracedShape::of(image);
  values[0] = graph.input("input", image);
  if (first) {
    const auto per_channel = [&](const std::vector<double>& v) { return graph.numbers(v, {std::ssize(v), 1, 1}); };
    graph.scope("normalize");
    values[0] = (values[0] - per_channel(first->mean)) / per_channel(first->stddev);
  }
  Trace unused;
  for (size_t i = 1; i < nodes.size(); ++i) {
    const Node& node = nodes[i];
    const NodeTensors& tensors = network.tensors(static_cast<int32_t>(i));
    std::vector<onnx::Value> x;
    std::vector<TracedShape> traced;
    std::vector<Dims> dims;
    for (const int32_t input : node.inputs) {
      const auto at = static_cast<size_t>(input);
      x.push_back(values[at]);
      traced.push_back(shapes[at]);
      dims.push_back(shapes[at].dims());
    }
    shapes[i] = node.op->trace(traced, tensors, node.name, unused);
    graph.scope(node.name);
    try {
      values[i] = node.op->to_onnx(graph, x, dims, tensors);
    } catch (const Error& e) {
      throw Error("{}: {}", node.origin, e.what());
    }
  }
  const auto output = static_cast<size_t>(network.graph().output);
  graph.output(values[output], "logits", shapes[output].dims());
}

}  // namespace tidepool
