#include "models/graph.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "models/nodes.h"

namespace tidepool {

GraphBuilder::GraphBuilder(const NetworkOptions& options, const Json& pool)
    : options_(options), pool_(std::make_unique<Json>(pool)) {
  if (!pool.is_object()) throw Error("model.pool: expected an object of slots, got {}", brief_json(pool));
  for (const auto& [slot, config] : pool.items())
    if (!config.is_null() && (!config.is_object() || !config.contains("type")))
      throw Error("model.pool.{}: expected an object with a \"type\", or null, got {}", slot, brief_json(config));
  if (options.where != "before" && options.where != "after")
    throw Error("model.where: expected \"before\" or \"after\", got \"{}\"", options.where);
  for (const auto& [slot, stride] : options.strides)
    if (stride < 1) throw Error("model.strides.{}: expected at least 1, got {}", slot, stride);
  if (options.input.rank() != 4)
    throw Error("{}: expected images (N, C, H, W), got the shape {}", options.name, options.input.str());
  graph_.nodes.push_back({.name = "input", .inputs = {}, .op = nullptr, .shape_owner = "input", .origin = "input"});
  lengths_.push_back({length(Length::input, 0), length(Length::input, 1)});
}

GraphBuilder::~GraphBuilder() = default;

int64_t GraphBuilder::scaled(int64_t channels) const {
  return std::max<int64_t>(1, std::llround(static_cast<double>(channels) * options_.width));
}

int64_t GraphBuilder::scaled_by_8(int64_t channels) const {
  const double wanted = static_cast<double>(channels) * options_.width;
  const int64_t rounded = std::max<int64_t>(8, static_cast<int64_t>(wanted + 4) / 8 * 8);
  return static_cast<double>(rounded) < 0.9 * wanted ? rounded + 8 : rounded;
}

bool GraphBuilder::cifar_stem() {
  has_stems_ = true;
  const std::string& stem = options_.stem;
  if (!stem.empty() && stem != "cifar" && stem != "imagenet")
    throw Error("model.stem: expected \"imagenet\" or \"cifar\", got \"{}\"", stem);
  return stem.empty() ? std::max(options_.input[2], options_.input[3]) <= 64 : stem == "cifar";
}

bool GraphBuilder::conv_bias() {
  has_conv_bias_ = true;
  return options_.conv_bias;
}

double GraphBuilder::stochastic_depth_rate(double published) {
  has_depth_ = true;
  return options_.stochastic_depth.value_or(published);
}

std::string GraphBuilder::head(std::initializer_list<const char*> heads) {
  has_heads_ = true;
  const std::vector<std::string> names(heads.begin(), heads.end());
  if (options_.head.empty()) return names.front();
  if (std::find(names.begin(), names.end(), options_.head) != names.end()) return options_.head;
  throw Error("model.head: {} has no head \"{}\"{}; its heads are {}", options_.name, options_.head,
              did_you_mean(options_.head, names), fmt::join(names, ", "));
}

int32_t GraphBuilder::length(Length kind, int64_t of, int64_t a, int64_t b) {
  const auto [at, fresh] =
      expressions_.try_emplace({static_cast<int64_t>(kind), of, a, b}, static_cast<int32_t>(expression_text_.size()));
  if (!fresh) return at->second;
  const auto text = [&] { return expression_text_[static_cast<size_t>(of)]; };
  switch (kind) {
    case Length::input:
      expression_text_.push_back(of == 0 ? "input height" : "input width");
      break;
    case Length::constant:
      expression_text_.push_back(std::to_string(of));
      break;
    case Length::window:
      expression_text_.push_back(fmt::format("floor(({}{:+d})/{})+1", text(), a, b));
      break;
    case Length::slot:
      expression_text_.push_back(fmt::format("{}({})", graph_.slots[static_cast<size_t>(a)].name, text()));
      break;
  }
  return at->second;
}

std::string GraphBuilder::lengths_text(Value x) const {
  std::vector<std::string> texts;
  for (const int32_t e : lengths(x)) texts.push_back(expression_text_[static_cast<size_t>(e)]);
  return texts.empty() ? "a vector" : fmt::format("{}", fmt::join(texts, " x "));
}

Value GraphBuilder::add_node(const std::string& name, std::span<const Value> inputs, std::unique_ptr<NodeOperator> op,
                             int64_t channels, std::vector<int32_t> lengths) {
  Node node{.name = name, .inputs = {}, .op = std::move(op), .shape_owner = name, .origin = name};
  for (const Value& x : inputs) node.inputs.push_back(x.node);
  graph_.nodes.push_back(std::move(node));
  lengths_.push_back(std::move(lengths));
  return {static_cast<int32_t>(graph_.nodes.size() - 1), channels};
}

std::vector<int32_t> GraphBuilder::same_lengths(const std::string& name, std::span<const Value> inputs) const {
  for (const Value& x : inputs)
    if (lengths(x) != lengths(inputs[0]))
      throw Error("{}: maps of {} ({}) and {} ({}) do not meet: their lengths are not the same expression", name,
                  graph_.nodes[static_cast<size_t>(inputs[0].node)].name, lengths_text(inputs[0]),
                  graph_.nodes[static_cast<size_t>(x.node)].name, lengths_text(x));
  return lengths(inputs[0]);
}

Value GraphBuilder::conv(const std::string& name, Value x, const ConvSpec& spec) {
  auto op = std::make_unique<ConvNode>(spec, options_.exact_math);
  const ConvOptions& o = op->options();
  std::vector<int32_t> after;
  for (size_t i = 0; i < lengths(x).size(); ++i) {
    // floor((n + 2p - d(k-1) - 1) / s) + 1; a convolution that keeps the length adds nothing to the expression.
    const int64_t offset = 2 * o.padding[i] - o.dilation[i] * (spec.kernel - 1) - 1;
    const int32_t n = lengths(x)[i];
    after.push_back(o.stride[i] == 1 && offset == -1 ? n : length(Length::window, n, offset, o.stride[i]));
  }
  return add_node(name, {&x, 1}, std::move(op), spec.out, after);
}

Value GraphBuilder::batch_norm(const std::string& name, Value x, double eps, double momentum) {
  return add_node(name, {&x, 1}, std::make_unique<BatchNormNode>(eps, momentum), x.channels, lengths(x));
}

Value GraphBuilder::activation(const std::string& name, Value x, Act act) {
  return add_node(name, {&x, 1}, std::make_unique<ActivationNode>(act), x.channels, lengths(x));
}

const Json* GraphBuilder::filling(const std::string& slot, Value x) const {
  if (const auto named = pool_->find(slot); named != pool_->end()) return named->is_null() ? nullptr : &*named;
  const auto all = pool_->find("default");
  return all == pool_->end() || all->is_null() || x.node == 0 ? nullptr : &*all;  // images are resized only by name
}

Slot& GraphBuilder::slot_entry(const std::string& slot) {
  for (Slot& s : graph_.slots)
    if (s.name == slot) return s;
  return graph_.slots.emplace_back(Slot{.name = slot, .kind = {}, .node = -1, .branches = {}});
}

int64_t GraphBuilder::empty_stride(const std::string& slot, int64_t published) {
  const auto own = options_.strides.find(slot);
  return own == options_.strides.end() ? published : own->second;
}

Value GraphBuilder::pool_node(const std::string& slot, const std::string& branch, Value x, const Json& config,
                              bool filled) {
  if (const auto known = pool_nodes_.find({slot, x.node}); known != pool_nodes_.end()) return known->second;
  Slot& entry = slot_entry(slot);
  const std::string origin = !filled                 ? slot
                             : pool_->contains(slot) ? "model.pool." + slot
                                                     : "model.pool." + slot + " (default)";
  std::unique_ptr<PoolNode> op;
  try {
    op = std::make_unique<PoolNode>(config, options_.exact_math);
  } catch (const Error& e) {
    throw Error("{}: {}", origin, e.what());
  }
  entry.kind = op->kind();
  const int64_t index = &entry - graph_.slots.data();
  std::vector<int32_t> after;
  for (size_t i = 0; i < lengths(x).size(); ++i)
    after.push_back(length(Length::slot, lengths(x)[i], index, static_cast<int64_t>(i)));
  const Value y = add_node(branch.empty() ? slot : slot + "." + branch, {&x, 1}, std::move(op), x.channels, after);
  Node& node = graph_.nodes.back();
  node.shape_owner = slot;
  node.origin = origin;
  if (entry.node < 0) entry.node = y.node;
  entry.branches.push_back(y.node);
  pool_nodes_[{slot, x.node}] = y;
  return y;
}

Value GraphBuilder::conv_norm_act(const ConvNormActNames& names, Value x, const ConvSpec& given) {
  ConvSpec spec = given;
  const Json* const config = spec.slot.empty() ? nullptr : filling(spec.slot, x);
  if (!spec.slot.empty()) has_strided_slot_ = true;
  if (config) {
    if (options_.strides.contains(spec.slot))
      throw Error("model.strides.{}: the slot is filled with {}: only an empty slot has a stride", spec.slot,
                  brief_json(*config));
    spec.stride = 1;
    if (options_.where == "before") x = pool_node(spec.slot, spec.branch, x, *config);
  } else if (!spec.slot.empty()) {
    spec.stride = empty_stride(spec.slot, spec.stride);
  }
  Value y = conv(names.conv, x, spec);
  if (!config && !spec.slot.empty()) {
    Slot& entry = slot_entry(spec.slot);
    if (entry.node < 0) entry.node = y.node;
    entry.kind = fmt::format("stride {}", spec.stride);
  }
  y = batch_norm(names.norm, y);
  if (spec.act != Act::none) y = activation(names.act, y, spec.act);
  if (config && options_.where == "after") y = pool_node(spec.slot, spec.branch, y, *config);
  return y;
}

Value GraphBuilder::pool_slot(const std::string& slot, Value x, const Json& published) {
  if (options_.strides.contains(slot))
    throw Error("model.strides.{}: the slot's layer is a pooling operator: set model.pool.{} instead", slot, slot);
  const Json* const config = filling(slot, x);
  if (config && options_.where != "before")
    throw Error(
        "model.where: the slot {} has no convolution to stand after; expected \"before\", or null in model.pool.{}",
        slot, slot);
  return pool_node(slot, "", x, config ? *config : published, config != nullptr);
}

Value GraphBuilder::global_avg(const std::string& name, Value x, bool keep_rank) {
  std::vector<int32_t> after;
  for (size_t i = 0; keep_rank && i < lengths(x).size(); ++i) after.push_back(length(Length::constant, 1));
  return add_node(name, {&x, 1}, global_avg_node(keep_rank), x.channels, after);
}

Value GraphBuilder::adaptive_avg(const std::string& name, Value x, int64_t size) {
  auto op = std::make_unique<PoolNode>(Json{{"type", "adaptive_avg"}, {"output_size", size}}, options_.exact_math);
  const Value y = add_node(name, {&x, 1}, std::move(op), x.channels,
                           std::vector<int32_t>(lengths(x).size(), length(Length::constant, size)));
  int64_t channels = y.channels;
  for (size_t i = 0; i < lengths(x).size(); ++i) channels *= size;
  return add_node(name + ".flatten", {&y, 1}, flatten_node(), channels, {});
}

Value GraphBuilder::linear(const std::string& name, Value x, int64_t out,
                           std::function<void(const Tensor&, uint64_t seed)> weight_init) {
  return add_node(name, {&x, 1}, linear_node(out, std::move(weight_init)), out, {});
}

Value GraphBuilder::dropout(const std::string& name, Value x, double published) {
  has_dropout_ = true;
  const double p = options_.dropout.value_or(published);
  return p == 0 ? x : add_node(name, {&x, 1}, dropout_node(p), x.channels, lengths(x));
}

Value GraphBuilder::stochastic_depth(const std::string& name, Value x, double p) {
  return p == 0 ? x : add_node(name, {&x, 1}, stochastic_depth_node(p), x.channels, lengths(x));
}

Value GraphBuilder::add(const std::string& name, Value a, Value b) {
  const Value inputs[] = {a, b};
  if (a.channels != b.channels)
    throw Error("{}: maps of {} and {} channels cannot be added", name, a.channels, b.channels);
  return add_node(name, inputs, tidepool::add_node(), a.channels, same_lengths(name, inputs));
}

Value GraphBuilder::gate(const std::string& name, Value x, Value s) {
  const Value inputs[] = {x, s};
  if (x.channels != s.channels)
    throw Error("{}: a gate of {} channels does not fit a map of {}", name, s.channels, x.channels);
  for (const int32_t each : lengths(s))
    if (each != length(Length::constant, 1)) throw Error("{}: expected a gate of one position per channel", name);
  return add_node(name, inputs, gate_node(), x.channels, lengths(x));
}

Value GraphBuilder::concat(const std::string& name, std::span<const Value> inputs) {
  if (inputs.empty()) throw Error("{}: expected at least one map", name);
  int64_t channels = 0;
  for (const Value& x : inputs) channels += x.channels;
  return add_node(name, inputs, concat_node(), channels, same_lengths(name, inputs));
}

Value GraphBuilder::resize(const std::string& name, Value x, const Dims& size, bool bilinear) {
  if (static_cast<size_t>(size.rank()) != lengths(x).size())
    throw Error("{}: expected {} lengths, got {}", name, lengths(x).size(), size.rank());
  std::vector<int32_t> after;
  for (const int64_t n : size) {
    if (n < 1) throw Error("{}: expected lengths of at least 1, got {}", name, size.str());
    after.push_back(length(Length::constant, n));
  }
  return add_node(name, {&x, 1}, resize_node(size, bilinear), x.channels, std::move(after));
}

Value GraphBuilder::resize_like(const std::string& name, Value x, Value like, bool bilinear) {
  if (lengths(x) == lengths(like)) return x;
  const Value inputs[] = {x, like};
  return add_node(name, inputs, resize_node({}, bilinear), x.channels, lengths(like));
}

Graph GraphBuilder::finish(Value output) {
  std::vector<std::string> names;
  for (const Slot& s : graph_.slots) names.push_back(s.name);
  const auto expect_slot = [&](const char* key, const std::string& slot) {
    if (std::find(names.begin(), names.end(), slot) == names.end())
      throw Error("{}.{}: {} has no such slot{}; its slots are {}", key, slot, options_.name, did_you_mean(slot, names),
                  fmt::join(names, ", "));
  };
  for (const auto& [slot, config] : pool_->items())
    if (slot != "default") expect_slot("model.pool", slot);
  for (const auto& [slot, stride] : options_.strides) expect_slot("model.strides", slot);
  if (options_.where != "before" && !has_strided_slot_)
    throw Error("model.where: {} has no strided convolution to stand after; expected \"before\"", options_.name);
  if (!options_.head.empty() && !has_heads_)
    throw Error("model.head: {} has one head alone, got \"{}\"", options_.name, options_.head);
  if (!options_.stem.empty() && !has_stems_)
    throw Error("model.stem: {} has one stem alone, got \"{}\"", options_.name, options_.stem);
  if (options_.conv_bias && !has_conv_bias_)
    throw Error("model.conv_bias: the convolutions of {} have no biases", options_.name);
  const auto expect_unset = [&](const char* key, const std::optional<double>& value, bool has) {
    if (value.value_or(0) != 0 && !has)
      throw Error("model.{}: {} has none{}, got {:g}", key, options_.name, has_heads_ ? " with this head" : "", *value);
  };
  expect_unset("dropout", options_.dropout, has_dropout_);
  expect_unset("stochastic_depth", options_.stochastic_depth, has_depth_);

  // All shape adaptors together start at a quarter of the length: of k alike, each at s = (1/4)^(1/k).
  const auto adaptors =
      std::count_if(graph_.slots.begin(), graph_.slots.end(), [](const Slot& s) { return s.kind == "shape_adaptor"; });
  for (const Slot& s : graph_.slots) {
    if (s.branches.size() == 1) graph_.nodes[static_cast<size_t>(s.branches[0])].name = s.name;
    if (s.kind != "shape_adaptor") continue;
    Json config = pool_->contains(s.name) ? pool_->at(s.name) : pool_->at("default");
    if (config.contains("alpha")) continue;
    const double r1 = config.value("r1", 0.5), r2 = config.value("r2", 1.0);
    const double scale = std::pow(0.25, 1.0 / static_cast<double>(adaptors)), t = (scale - r1) / (r2 - r1);
    if (!(t > 0 && t < 1)) continue;
    config["alpha"] = std::log(t / (1 - t));
    for (const int32_t branch : s.branches)
      graph_.nodes[static_cast<size_t>(branch)].op = std::make_unique<PoolNode>(config, options_.exact_math);
  }
  graph_.output = output.node;
  return std::move(graph_);
}

}  // namespace tidepool
