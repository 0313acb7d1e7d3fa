#include "models/blocks.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/tape.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/starts.h"

namespace tidepool {
namespace {

// FNV-1a, 64 bits: the stream of random numbers that belongs to a name.
uint64_t stream_of(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// work() in the scope of a layer, which its errors name.
template <class Work>
auto in_layer(const std::string& name, const Work& work) {
  const LayerScope scope(name);
  try {
    return work();
  } catch (const Error& e) {
    throw Error("{}: {}", name, e.what());
  }
}

}  // namespace

NetworkBuilder::NetworkBuilder(Network& network, const Json& pool) : network_(network), pool_(pool) {
  if (!pool.is_object()) throw Error("model.pool: expected an object of places, got {}", brief_json(pool));
  for (const auto& [place, config] : pool.items())
    if (!config.is_object() || !config.contains("type"))
      throw Error("model.pool.{}: expected an object with a \"type\", got {}", place, brief_json(config));
}

int64_t NetworkBuilder::scaled(int64_t channels) const {
  return std::max<int64_t>(1, std::llround(static_cast<double>(channels) * options().width));
}

Tensor NetworkBuilder::parameter(const std::string& name, const ParameterSpec& spec) {
  const DType dtype = options().dtype == DType::f64 ? DType::f64 : DType::f32;
  const Tensor value = Tensor::empty(spec.shape, {.dtype = dtype});
  spec.start(value, options().seed ^ stream_of(name));
  value.set_requires_grad();
  network_.parameters_.push_back({name, spec.kind, value});
  return value;
}

Tensor NetworkBuilder::buffer(const std::string& name, const Dims& shape, double value) {
  const DType dtype = options().dtype == DType::f64 ? DType::f64 : DType::f32;
  network_.buffers_.push_back({name, Tensor::full(shape, value, {.dtype = dtype})});
  return network_.buffers_.back().value;
}

size_t NetworkBuilder::place(const std::string& name, const Dims& x, int places_in_all) {
  const std::string key = pool_.contains(name) ? name : "default";
  if (!pool_.contains(key))
    throw Error("model.pool: nothing is said of the place '{}', and there is no \"default\"", name);
  nlohmann::json config = pool_.at(key);
  if (config.at("type") == "shape_adaptor" && !config.contains("alpha")) {
    // All adaptors together start at a quarter of the length; of k alike, each at s = (1/4)^(1/k).
    const double r1 = config.value("r1", 0.5), r2 = config.value("r2", 1.0);
    const double s = std::pow(0.25, 1.0 / places_in_all), t = (s - r1) / (r2 - r1);
    if (t > 0 && t < 1) config["alpha"] = std::log(t / (1 - t));
  }
  ResizingPlace place{.name = name, .kind = config.at("type").get<std::string>(), .op = nullptr, .parameters = {}};
  try {
    if (!find_pool_operator(place.kind).resizes)
      throw Error("[{}] does not resize a map: it cannot stand in a network's resizing place", place.kind);
    place.op = make_pool_operator(config);
    for (ParameterSpec spec : place.op->parameters(x)) {
      const std::string full = name + "." + spec.name;
      place.parameters.push_back(parameter(full, spec));
    }
    const Dims y = place.op->output_shape(x, place.parameters);
    if (y.rank() != x.rank() || y[1] != x[1])
      throw Error("[{}] does not resize a map of shape {}: it gives {}", place.kind, x.str(), y.str());
  } catch (const Error& e) {
    throw Error("model.pool.{}: {}", key == name ? name : name + " (default)", e.what());
  }
  network_.places_.push_back(std::move(place));
  return network_.places_.size() - 1;
}

void NetworkBuilder::finish() const {
  std::vector<std::string> names{"default"};
  for (const ResizingPlace& place : network_.places_) names.push_back(place.name);
  for (const auto& [place, config] : pool_.items())
    if (std::find(names.begin(), names.end(), place) == names.end())
      throw Error("model.pool.{}: {} has no such place{}; its places are {}", place, options().name,
                  did_you_mean(place, names), fmt::join(names.begin() + 1, names.end(), ", "));
}

ConvBlock::ConvBlock(NetworkBuilder& b, const std::string& name, int64_t in, int64_t out, int64_t kernel,
                     ConvOptions options, bool bias)
    : name_(name), options_(options) {
  options_.exact = b.options().exact_math;
  const double fan_out = static_cast<double>(out * kernel * kernel);
  weight_ = b.parameter(name + ".weight", {.name = "weight",
                                           .shape = {out, in / options.groups, kernel, kernel},
                                           .kind = ParameterKind::weight,
                                           .start = he_normal(fan_out)});
  if (bias)
    bias_ = b.parameter(name + ".bias",
                        {.name = "bias", .shape = {out}, .kind = ParameterKind::bias, .start = start_at(0)});
}

Tensor ConvBlock::operator()(const Tensor& x) const {
  return in_layer(name_, [&] { return convolution(x, weight_, bias_, options_); });
}

TracedShape ConvBlock::trace(const TracedShape& x, Trace& trace) const {
  const Dims y = convolution_shape(x.dims(), weight_.shape(), options_);
  TracedShape out{.n = y[0], .c = y[1], .lengths = {}};
  for (size_t i = 0; i < x.lengths.size(); ++i)
    out.lengths.push_back(x.lengths[i].then(y[2 + static_cast<int>(i)], 1.0 / static_cast<double>(options_.stride[i])));
  trace.layers.push_back({.name = name_,
                          .kind = "conv2d",
                          .output = out,
                          .parameters = weight_.numel() + (bias_ ? bias_.numel() : 0),
                          .macs_per_place = weight_.numel(),
                          .convolution = {{x.dims(), weight_.shape(), options_}}});
  return out;
}

BatchNormReluBlock::BatchNormReluBlock(NetworkBuilder& b, const std::string& name, int64_t channels) : name_(name) {
  const Dims shape{channels};
  weight_ = b.parameter(name + ".weight", {"weight", shape, ParameterKind::norm, start_at(1)});
  bias_ = b.parameter(name + ".bias", {"bias", shape, ParameterKind::norm, start_at(0)});
  mean_ = b.buffer(name + ".running_mean", shape, 0);
  variance_ = b.buffer(name + ".running_var", shape, 1);
}

Tensor BatchNormReluBlock::operator()(const Tensor& x, const ForwardMode& mode) const {
  BatchNormOptions options;
  options.training = mode.training;
  options.relu = true;
  return in_layer(name_, [&] { return batch_norm(x, weight_, bias_, mean_, variance_, options); });
}

TracedShape BatchNormReluBlock::trace(const TracedShape& x, Trace& trace) const {
  trace.layers.push_back({.name = name_,
                          .kind = "batch_norm_relu",
                          .output = x,
                          .parameters = weight_.numel() + bias_.numel(),
                          .batch_statistics = true});
  return x;
}

NormedMap ConvNormReluBlock::operator()(const NormedMap& x, const ForwardMode& mode) const {
  const ConvNorm tensors{conv_.weight_, conv_.bias_, norm_.weight_, norm_.bias_, norm_.mean_, norm_.variance_};
  if (Tape::apart() || !conv_norm_fuses(x, tensors)) return norm_(conv_(x.tensor()), mode);
  return in_layer(conv_.name_, [&] { return conv_norm_relu(x, tensors, conv_.options_, {.training = mode.training}); });
}

LinearBlock::LinearBlock(NetworkBuilder& b, const std::string& name, int64_t in, int64_t out) : name_(name) {
  weight_ = b.parameter(name + ".weight", {"weight", {out, in}, ParameterKind::weight, start_normal(0.01)});
  bias_ = b.parameter(name + ".bias", {"bias", {out}, ParameterKind::bias, start_at(0)});
}

Tensor LinearBlock::operator()(const Tensor& x) const {
  const LayerScope scope(name_);
  return linear(x, weight_, bias_);
}

TracedShape LinearBlock::trace(const TracedShape& x, Trace& trace) const {
  const TracedShape out{.n = x.n, .c = weight_.size(0), .lengths = {}};
  trace.layers.push_back({.name = name_,
                          .kind = "linear",
                          .output = out,
                          .parameters = weight_.numel() + bias_.numel(),
                          .macs_per_place = weight_.numel()});
  return out;
}

PlaceBlock::PlaceBlock(NetworkBuilder& b, const std::string& name, const Dims& x, int places_in_all)
    : network_(&b.network()), index_(b.place(name, x, places_in_all)) {}

Tensor PlaceBlock::operator()(const NormedMap& x, const ForwardMode& mode) const {
  return in_layer(place().name, [&] {
    return place().op->forward(x, place().parameters,
                               {.training = mode.training,
                                .seed = mode.seed ^ stream_of(place().name),
                                .step = mode.step,
                                .exact = network_->options().exact_math});
  });
}

TracedShape PlaceBlock::trace(const TracedShape& x, Trace& trace) const {
  const size_t before = trace.layers.size();
  TracedShape y;
  try {
    if (trace.before_slot) trace.before_slot(place().name, x);
    y = place().op->trace(x, place().parameters, place().name, trace);
  } catch (const Error& e) {
    const std::string learned = network_->learned_by(x);
    throw Error("{}: {}{}{}", place().name, e.what(),
                learned.empty() ? "" : "; the size of its input is learned: ", learned);
  }
  if (trace.layers.size() == before) {
    int64_t parameters = 0;
    for (const Tensor& p : place().parameters) parameters += p.numel();
    trace.layers.push_back({.name = place().name, .kind = place().kind, .output = y, .parameters = parameters});
  }
  return y;
}

}  // namespace tidepool
