#include "models/network.h"

#include <nlohmann/json.hpp>

#include "core/elementwise.h"
#include "models/registry.h"

namespace tidepool {

namespace {

// Whether an operator's bounds let a shape parameter move: those with r_min = r_max do not.
bool can_move(const ResizingPlace& place, const Tensor& parameter, const Dims& x) {
  const auto far = [&](double value) {
    std::vector<Tensor> copies;
    size_t at = 0;
    for (size_t i = 0; i < place.parameters.size(); ++i) {
      copies.push_back(place.parameters[i].clone());
      if (place.parameters[i].shares_storage(parameter)) at = i;
    }
    copies[at].fill(value);
    place.op->project(copies, x);
    return copies[at].values();
  };
  return far(-1e30) != far(1e30);
}

std::string lengths_of(const Dims& x) {
  return fmt::format("{}", fmt::join(x.begin() + 2, x.end(), "x"));
}

}  // namespace

void Network::walk(Trace& trace) const {
  Dims input = options_.input;
  input[0] = 1;
  trace_layers(TracedShape::of(input), trace);
}

Trace Network::trace() const {
  Trace trace;
  walk(trace);
  return trace;
}

const ResizingPlace& Network::place_named(const std::string& name) const {
  return *std::find_if(places_.begin(), places_.end(), [&](const ResizingPlace& p) { return p.name == name; });
}

void Network::project() {
  for (const Parameter& p : parameters_)
    if ((p.kind == ParameterKind::shape || p.kind == ParameterKind::number) && !all_finite(p.value))
      throw Error("the parameter {} is not finite", p.name);
  Trace projecting;
  projecting.before_slot = [&](const std::string& name, const TracedShape& x) {
    const ResizingPlace& place = place_named(name);
    place.op->project(place.parameters, x.dims());
  };
  walk(projecting);
}

void Network::expect_sizes_may_change() const {
  std::vector<Tensor> moving;
  Trace checking;
  checking.before_slot = [&](const std::string& name, const TracedShape& x) {
    const ResizingPlace& place = place_named(name);
    for (size_t axis = 0; axis < x.lengths.size(); ++axis) {
      const auto& slopes = x.lengths[axis].slopes;
      const bool changes = std::any_of(slopes.begin(), slopes.end(), [&](const Slope& s) {
        return std::any_of(moving.begin(), moving.end(),
                           [&](const Tensor& t) { return t.shares_storage(s.parameter); });
      });
      if (!changes) continue;
      // A least size is legal to ask for: a map may never shrink to it. But what serves n and not n + 1 breaks as soon
      // as the size changes: multiples of a block, a parameter per position.
      const int i = 2 + static_cast<int>(axis);
      for (Dims larger = x.dims(); larger[i] < 2 * x.dims()[i];) {
        ++larger[i];
        try {
          place.op->output_shape(larger, place.parameters);
        } catch (const Error& e) {
          throw Error("[{}] serves a map of {}, but not every larger one: with {} {}", place.kind, lengths_of(x.dims()),
                      lengths_of(larger), e.what());
        }
      }
    }
    for (const Parameter& p : parameters_)
      if (p.kind == ParameterKind::shape && p.name.starts_with(name + ".") && can_move(place, p.value, x.dims()))
        moving.push_back(p.value);
  };
  try {
    walk(checking);
  } catch (const Error& e) {
    throw Error("model.pool.{}", e.what());  // what a walk throws begins with the slot's name
  }
}

std::string Network::learned_by(const TracedShape& x) const {
  std::vector<std::string> names;
  for (const Parameter& p : parameters_)
    if (std::any_of(x.lengths.begin(), x.lengths.end(), [&](const TracedLength& length) {
          return std::any_of(length.slopes.begin(), length.slopes.end(),
                             [&](const Slope& s) { return s.parameter.shares_storage(p.value); });
        }))
      names.push_back(p.name);
  return fmt::format("{}", fmt::join(names, ", "));
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
    if (options.name == n.name) {
      std::unique_ptr<Network> network = n.make(options, pool);
      network->expect_sizes_may_change();
      return network;
    }
  const auto names = network_names();
  throw Error("model.name: there is no network '{}'{}; there are {}", options.name, did_you_mean(options.name, names),
              fmt::join(names, ", "));
}

}  // namespace tidepool
