#include "models/network.h"

#include <nlohmann/json.hpp>

#include "models/registry.h"

namespace tidepool {

Trace Network::trace() const {
  Trace trace;
  Dims input = options_.input;
  input[0] = 1;
  trace_layers(TracedShape::of(input), trace);
  return trace;
}

void Network::project() {
  const Trace lengths = trace();
  Dims before = options_.input;
  for (const TracedLayer& layer : lengths.layers) {
    for (ResizingPlace& place : places_)
      if (place.name == layer.name) place.op->project(place.parameters, before);
    before = layer.output.dims();
  }
}

std::vector<std::pair<std::string, Tensor>> Network::state() const {
  std::vector<std::pair<std::string, Tensor>> state;
  for (const Parameter& p : parameters_) state.emplace_back(p.name, p.value);
  for (const Buffer& b : buffers_) state.emplace_back(b.name, b.value);
  return state;
}

std::vector<std::pair<std::string, Dims>> Network::place_shapes() const {
  std::vector<std::pair<std::string, Dims>> shapes;
  const Trace lengths = trace();
  for (const ResizingPlace& place : places_)
    for (const TracedLayer& layer : lengths.layers)
      if (layer.name == place.name) {
        const Dims dims = layer.output.dims();
        shapes.emplace_back(place.name, Dims(std::span(dims.begin() + 2, dims.end())));
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
    if (options.name == n.name) return n.make(options, pool);
  const auto names = network_names();
  throw Error("model.name: there is no network '{}'{}; there are {}", options.name, did_you_mean(options.name, names),
              fmt::join(names, ", "));
}

}  // namespace tidepool
