#include "models/network.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/backend/conv_weights.h"
#include "core/backend/copy.h"
#include "core/find_named.h"
#include "models/name_seed.h"
#include "models/nodes.h"
#include "models/registry.h"

namespace tidepool {
namespace {

std::vector<Dims> dims_of(std::span<const TracedShape> x) {
  std::vector<Dims> dims;
  for (const TracedShape& shape : x) dims.push_back(shape.dims());
  return dims;
}

std::string lengths_of(const Dims& x) {
  return fmt::format("{}", fmt::join(x.begin() + 2, x.end(), "x"));
}

constexpr double kFar = 1e30;  // beyond every bound of a parameter

// Whether an operator's bounds let a parameter of it move: those with r_min = r_max do not.
bool can_move(const NodeOperator& op, const NodeTensors& tensors, size_t index, std::span<const Dims> x) {
  const auto far = [&](double value) {
    NodeTensors copies;
    for (const Tensor& t : tensors.parameters) copies.parameters.push_back(t.clone());
    copies.parameters[index].fill(value);
    op.project(x, copies);
    return copies.parameters[index].values();
  };
  return far(-kFar) != far(kFar);
}

bool decides(const Tensor& parameter, const TracedShape& x) {
  return std::any_of(x.lengths.begin(), x.lengths.end(), [&](const TracedLength& length) {
    return std::any_of(length.slopes.begin(), length.slopes.end(),
                       [&](const Slope& s) { return s.parameter.shares_storage(parameter); });
  });
}

double positions(const TracedShape& x) {
  double product = 1;
  for (const TracedLength& length : x.lengths) product *= static_cast<double>(length.value);
  return product;
}

void set_values(const Tensor& parameter, const std::vector<double>& values) {
  if (parameter.values() == values) return;
  parameter.copy_from(Tensor::from<double>(std::span<const double>(values), parameter.shape()).to(parameter.dtype()));
  expect_read(std::span(&parameter, 1));
}

// The T nearest to `value`, on the way to `end`, for which fits(number): true there and from one number on. In as many
// questions as T has bits.
template <class T, class Bits, class Fits>
double nearest_that_fits(T value, T end, const Fits& fits) {
  if (fits(static_cast<double>(value))) return static_cast<double>(value);
  // Integers in the order of the numbers; both zeros are 0.
  const auto mirrored = [](Bits bits) { return bits < 0 ? std::numeric_limits<Bits>::min() - bits : bits; };
  Bits no = mirrored(std::bit_cast<Bits>(value)), yes = mirrored(std::bit_cast<Bits>(end));
  while (true) {
    const Bits next = std::midpoint(no, yes);
    if (next == no || next == yes) return static_cast<double>(std::bit_cast<T>(mirrored(yes)));
    (fits(static_cast<double>(std::bit_cast<T>(mirrored(next)))) ? yes : no) = next;
  }
}
template <class Fits>
double nearest_that_fits(double value, double end, DType type, const Fits& fits) {
  if (type == DType::f64) return nearest_that_fits<double, int64_t>(value, end, fits);
  return nearest_that_fits<float, int32_t>(static_cast<float>(value), static_cast<float>(end), fits);
}

// Where a stride meets a map of one row or column at the start, the image is smaller than the network's strides. (A
// size may come to be one later, as it is learned.)
void expect_stride_fits(const NodeOperator& op, const TracedShape& x, const NetworkOptions& options) {
  const auto* conv = dynamic_cast<const ConvNode*>(&op);
  for (size_t axis = 0; conv && axis < x.lengths.size(); ++axis)
    if (conv->options().stride[axis] > 1 && x.lengths[axis].value == 1)
      throw Error(
          "images of {}x{} are too small for {}: a convolution of stride {} would read a map of {}; expected "
          "larger ones (data.size)",
          options.input[2], options.input[3], options.name, conv->options().stride[axis], lengths_of(x.dims()));
}

// A size that begins beyond its bounds would be another from the first update on, and a cost that is held at the
// initial one the cost of a network that nobody trains.
void expect_init_in_bounds(const NodeOperator& op, std::span<const ParameterSpec> specs, std::span<const Dims> x,
                           const NodeTensors& tensors) {
  constexpr double kRounding = 1e-6;  // of f32
  std::vector<std::vector<double>> initial;
  for (const Tensor& t : tensors.parameters) initial.push_back(t.values());
  op.project(x, tensors);
  for (size_t k = 0; k < specs.size(); ++k) {
    const std::vector<double> kept = tensors.parameters[k].values();
    for (size_t i = 0; specs[k].kind == ParameterKind::shape && i < kept.size(); ++i)
      if (std::abs(kept[i] - initial[k][i]) > kRounding * std::abs(initial[k][i]))
        throw Error("[{}] {} begins at {:g}, outside of its bounds: the first update would make it {:g}", op.kind(),
                    specs[k].name, initial[k][i], kept[i]);
  }
}

TracedShape image_shape(const NetworkOptions& options) {
  Dims input = options.input;
  input[0] = 1;
  return TracedShape::of(input);
}

}  // namespace

template <class Each>
std::vector<TracedShape> Network::walk(Trace& trace, const Each& each, bool config) const {
  std::vector<TracedShape> shapes;
  walk(shapes, trace, each, config);
  return shapes;
}

template <class Each>
void Network::walk(std::vector<TracedShape>& shapes, Trace& trace, const Each& each, bool config) const {
  shapes.assign(graph_.nodes.size(), {});
  shapes[0] = image_shape(options_);
  for (size_t i = 1; i < graph_.nodes.size(); ++i) {
    const Node& node = graph_.nodes[i];
    std::vector<TracedShape> x;
    for (const int32_t input : node.inputs) x.push_back(shapes[static_cast<size_t>(input)]);
    try {
      each(i, std::span<const TracedShape>(x));
      shapes[i] = node.op->trace(x, tensors_[i], node.name, trace);
      if (trace.layers.back().batch_statistics && static_cast<double>(smallest_batch_) * positions(x[0]) == 1)
        throw Error("batch norm needs more than one value per channel, and a batch of one image gives it one pixel");
    } catch (const Error& e) {
      const std::string learned = learned_by(x[0]);
      throw Error("{}: {}{}{}", config ? node.origin : node.name, e.what(),
                  learned.empty() ? "" : "; the size of its input is learned: ", learned);
    }
  }
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
  const auto make = [&](size_t i, std::span<const TracedShape> inputs) {
    const Node& node = graph_.nodes[i];
    const std::vector<Dims> x = dims_of(inputs);
    expect_stride_fits(*node.op, inputs[0], options_);
    const std::vector<ParameterSpec> specs = node.op->parameters(x);
    for (const ParameterSpec& spec : specs) {
      const std::string& owner = spec.kind == ParameterKind::shape ? node.shape_owner : node.name;
      tensors_[i].parameters.push_back(parameter(owner + "." + spec.name, spec));
    }
    if (std::any_of(specs.begin(), specs.end(), [](const auto& spec) { return spec.kind == ParameterKind::shape; }))
      expect_init_in_bounds(*node.op, specs, x, tensors_[i]);
    const DType dtype = options_.dtype == DType::f64 ? DType::f64 : DType::f32;
    for (const BufferSpec& spec : node.op->buffers(x)) {
      buffers_.push_back({node.name + "." + spec.name,
                          Tensor::full(spec.shape, spec.value, {.dtype = dtype, .device = options_.device})});
      tensors_[i].buffers.push_back(buffers_.back().value);
    }
  };
  walk(unused, make, /*config=*/true);
  expect_sizes_may_change();
}

Tensor Network::parameter(const std::string& name, const ParameterSpec& spec) {
  if (spec.kind == ParameterKind::shape)
    for (const Parameter& p : parameters_)
      if (p.name == name) return p.value;  // of another branch of the slot
  const DType dtype = options_.dtype == DType::f64 ? DType::f64 : DType::f32;
  const Tensor here = Tensor::empty(spec.shape, {.dtype = dtype});
  spec.init(here, options_.seed ^ name_seed(name));
  const MemoryFormat format = spec.filters ? weights_format(options_.device) : MemoryFormat::plain;
  const Tensor value = here.contiguous(format).to(options_.device);  // the same bits on every device
  value.set_requires_grad();
  parameters_.push_back({name, spec.kind, value});
  return value;
}

Trace Network::trace() const {
  Trace trace;
  walk(trace, [](size_t, std::span<const TracedShape>) {});
  return trace;
}

bool Network::gives_map() const {
  Trace unused;
  return !walk(unused, [](size_t, std::span<const TracedShape>) {})[static_cast<size_t>(graph_.output)].lengths.empty();
}

void Network::project() {
  for (const Parameter& p : parameters_)
    if (p.kind == ParameterKind::shape || p.kind == ParameterKind::number)
      for (const double value : p.value.values())
        if (!std::isfinite(value)) throw Error("the parameter {} is not finite", p.name);
  std::vector<WantedSize> wanted;
  for (const Parameter& p : parameters_)
    if (p.kind == ParameterKind::shape) wanted.push_back({p.value, p.value.values()});
  std::optional<Misfit> misfit = project(wanted);
  while (misfit) {
    const size_t node = misfit->node;
    if (!fit(wanted, *misfit)) throw misfit->error;
    misfit = project(wanted);
    if (misfit && misfit->node <= node) throw misfit->error;
  }
}

std::optional<Network::Misfit> Network::project(std::span<const WantedSize> wanted) {
  for (const WantedSize& size : wanted) set_values(size.parameter, size.values);
  Misfit misfit{0, {}, Error("")};
  Trace unused;
  const auto each = [&](size_t i, std::span<const TracedShape> x) {
    misfit.node = i;
    graph_.nodes[i].op->project(dims_of(x), tensors_[i]);
  };
  try {
    walk(misfit.shapes, unused, each);
  } catch (const Error& e) {
    misfit.error = e;
    return misfit;
  }
  return {};
}

bool Network::fit(std::span<WantedSize> wanted, const Misfit& misfit) {
  const TracedShape& input = misfit.shapes[static_cast<size_t>(graph_.nodes[misfit.node].inputs[0])];
  // Of larger maps only: where one is too large for a node before, a smaller one may fit both.
  const auto fits = [&] {
    const auto end = project(wanted);
    return !end || end->node != misfit.node;
  };
  const auto size_after = [&](const Tensor& parameter) -> double {  // the positions of its slot's map
    const auto end = project(wanted);
    if (!end) return INFINITY;
    size_t slot = 0;
    while (std::none_of(tensors_[slot].parameters.begin(), tensors_[slot].parameters.end(),
                        [&](const Tensor& t) { return t.shares_storage(parameter); }))
      ++slot;
    return slot < end->node ? positions(end->shapes[slot]) : INFINITY;
  };
  struct Moved {
    WantedSize* size;
    std::vector<double> before;
    double end;
  };
  std::vector<Moved> moved;
  for (size_t k = wanted.size(); k-- > 0;) {
    WantedSize& size = wanted[k];
    if (!decides(size.parameter, input)) continue;
    Moved& now = moved.emplace_back(Moved{&size, size.values, 0});
    double largest = -1;
    for (const double end : {-kFar, kFar}) {
      std::fill(size.values.begin(), size.values.end(), end);
      const double here = size_after(size.parameter);
      if (here > largest) now.end = end;
      largest = std::max(largest, here);
    }
    std::fill(size.values.begin(), size.values.end(), now.end);
    if (!fits()) continue;
    for (auto m = moved.rbegin(); m != moved.rend(); ++m)
      for (size_t i = 0; i < m->before.size(); ++i) {
        double& value = m->size->values[i];
        value = nearest_that_fits(m->before[i], m->end, m->size->parameter.dtype(), [&](double v) {
          value = v;
          return fits();
        });
      }
    return true;
  }
  return false;
}

void Network::expect_sizes_may_change() const {
  std::vector<Tensor> moving;
  const auto moves = [&](const TracedLength& length) {
    return std::any_of(length.slopes.begin(), length.slopes.end(), [&](const Slope& s) {
      return std::any_of(moving.begin(), moving.end(), [&](const Tensor& t) { return t.shares_storage(s.parameter); });
    });
  };
  Trace unused;
  const auto check = [&](size_t i, std::span<const TracedShape> inputs) {
    const NodeOperator& op = *graph_.nodes[i].op;
    const TracedShape& x = inputs[0];
    const std::vector<Dims> dims = dims_of(inputs);
    const auto* pool = dynamic_cast<const PoolNode*>(&op);
    for (size_t axis = 0; pool && axis < x.lengths.size(); ++axis) {
      if (!moves(x.lengths[axis])) continue;
      // A least size is legal to ask for: a map may never shrink to it. But what serves n and not n + 1 breaks as soon
      // as the size changes: multiples of a block, a parameter per position.
      const int k = 2 + static_cast<int>(axis);
      for (Dims larger = dims[0]; larger[k] < 2 * dims[0][k];) {
        ++larger[k];
        try {
          pool->op().output_shape(larger, tensors_[i].parameters);
        } catch (const Error& e) {
          throw Error("[{}] serves a map of {}, but not every larger one: with {} {}", op.kind(), lengths_of(dims[0]),
                      lengths_of(larger), e.what());
        }
      }
    }
    for (size_t k = 0; k < tensors_[i].parameters.size(); ++k)
      for (const Parameter& p : parameters_)
        if (p.kind == ParameterKind::shape && p.value.shares_storage(tensors_[i].parameters[k]) &&
            can_move(op, tensors_[i], k, dims))
          moving.push_back(p.value);
  };
  walk(unused, check, /*config=*/true);
}

std::string Network::learned_by(const TracedShape& x) const {
  std::vector<std::string> names;
  for (const Parameter& p : parameters_)
    if (decides(p.value, x)) names.push_back(p.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::vector<std::pair<std::string, Tensor>> Network::state() const {
  std::vector<std::pair<std::string, Tensor>> state;
  for (const Parameter& p : parameters_) state.emplace_back(p.name, p.value);
  for (const Buffer& b : buffers_) state.emplace_back(b.name, b.value);
  return state;
}

std::vector<std::pair<std::string, Dims>> Network::slot_shapes() const {
  Trace unused;
  const std::vector<TracedShape> all = walk(unused, [](size_t, std::span<const TracedShape>) {});
  std::vector<std::pair<std::string, Dims>> shapes;
  for (const Slot& slot : graph_.slots) {
    const Dims dims = all[static_cast<size_t>(slot.node)].dims();
    shapes.emplace_back(slot.name, Dims(std::span(dims.begin() + 2, dims.end())));
  }
  return shapes;
}

std::vector<LearnedSize> Network::learned_sizes() const {
  Trace unused;
  const std::vector<TracedShape> shapes = walk(unused, [](size_t, std::span<const TracedShape>) {});
  std::vector<LearnedSize> sizes;
  std::vector<Tensor> seen;  // a slot's branches share a parameter
  for (size_t i = 0; i < shapes.size(); ++i)
    for (const Tensor& value : tensors_[i].parameters) {
      const auto same = [&](const Tensor& other) { return other.shares_storage(value); };
      const auto p =
          std::find_if(parameters_.begin(), parameters_.end(), [&](const Parameter& each) { return same(each.value); });
      if (p->kind != ParameterKind::shape || std::any_of(seen.begin(), seen.end(), same)) continue;
      seen.push_back(value);
      for (int64_t e = 0; e < value.numel(); ++e) {
        LearnedSize size{.parameter = p->name, .value = value, .element = e, .axes = {}};
        for (size_t axis = 0; axis < shapes[i].lengths.size(); ++axis)
          for (const Slope& s : shapes[i].lengths[axis].slopes) {
            if (s.element != e || !same(s.parameter)) continue;
            if (size.axes.empty() || std::abs(s.value) > std::abs(size.slope)) {
              size.length = shapes[i].lengths[axis].value;
              size.slope = s.value;
            }
            size.axes.push_back(static_cast<int>(axis));
          }
        sizes.push_back(std::move(size));
      }
    }
  return sizes;
}

std::vector<std::string> network_names() {
  return names_of(network_registrations());
}

std::unique_ptr<Network> make_network(const NetworkOptions& options, const Json& pool) {
  if (!(options.width > 0) || options.width > 64)
    throw Error("model.width: expected a number in (0, 64], got {}", options.width);
  if (options.classes < 1) throw Error("model.classes: expected at least 1, got {}", options.classes);
  const NetworkRegistration& network =
      find_named(network_registrations(), options.name, "model.name: there is no network");
  GraphBuilder builder(options, pool);
  return std::make_unique<Network>(network.build(builder), options);
}

}  // namespace tidepool
