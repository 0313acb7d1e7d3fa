#include "train/row_labels.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/key_values.h"
#include "layers/pool/prepared.h"
#include "train/optimizer.h"
#include "train/setup.h"

namespace tidepool {
namespace {

const KeyList& pool_keys() {
  static const KeyList list = list_keys<PoolKeys>();
  return list;
}

bool is_default(const KeyOption& op, const std::string& name, const Json& value) {
  const Key* key = find_key({}, &op, name);
  return key && !key->default_value.empty() && Json::parse(key->default_value) == value;
}

// "max (kernel 3)": an operator's object of a config, with the keys whose values are not their defaults.
std::string operator_text(const Json& config) {
  if (!config.is_object() || !config.contains("type")) return config.is_null() ? "none" : brief_json(config);
  const KeyOption* op = find_option(pool_keys(), option_in_use(pool_keys(), config, ""));
  std::string keys;
  for (const auto& [key, value] : config.items())
    if (key != "type" && !(op && is_default(*op, key, value)))
      keys += fmt::format("{}{} {}", keys.empty() ? "" : ", ", key, value.dump());
  const Json& type = config.at("type");
  const std::string name = type.is_string() ? type.get<std::string>() : brief_json(type);
  return keys.empty() ? name : fmt::format("{} ({})", name, keys);
}

// The network's name, with the keys of its section that --set changed. The pool has a column of its own; the width is
// in the caption, and here where rows differ in it.
std::string model_label(const Json& model, const Json& planned) {
  std::string keys;
  for (const auto& [key, value] : model.items())
    if (key != "name" && key != "pool" && key != "width" && !(planned.contains(key) && planned.at(key) == value))
      keys += fmt::format("{}{} {}", keys.empty() ? "" : ", ", key, value.dump());
  const std::string name = model.at("name").get<std::string>();
  return keys.empty() ? name : fmt::format("{} ({})", name, keys);
}

bool has_shape_parameters(const Json& pool) {
  return std::any_of(pool.begin(), pool.end(), [](const Json& config) {
    if (!config.is_object()) return false;
    try {
      const auto parameters = make_pool_operator(nlohmann::json(config))->parameters({1, 8, 32, 32});
      return std::any_of(parameters.begin(), parameters.end(),
                         [](const ParameterSpec& spec) { return spec.kind == ParameterKind::shape; });
    } catch (const Error&) {
      return false;  // building the network says what is wrong
    }
  });
}

}  // namespace

std::string data_label(const VariantOptions& variant) {
  const VariantOptions usual;
  if (variant.type == "none") return "plain";
  if (variant.type == "tile" && variant.grid != usual.grid) return fmt::format("tile (grid {})", variant.grid);
  if (variant.type == "large" && variant.size != usual.size) return fmt::format("large (size {})", variant.size);
  if (variant.type.starts_with("stretch") && variant.factor != usual.factor)
    return fmt::format("{} (factor {:g})", variant.type, variant.factor);
  return variant.type;
}

const GroupSettings* shape_group(const Config& config) {
  const OptimConfig& optim = config.optim;
  if (!has_shape_parameters(config.model.pool)) return nullptr;
  if (optim.groups.empty()) return &*optim.shape;
  const GroupSettings* found = nullptr;
  try {  // only the network has the parameters' names; they are the same on every device and for any classes
    Config here = config;
    here.train.device = "cpu";
    if (!here.model.classes)
      here.model.classes = std::max(2, dataset_format(here.data.name, dataset_options(here.data)).classes);
    const auto network = make_run_network(here);
    for (const Parameter& p : network->parameters()) {
      if (p.kind != ParameterKind::shape) continue;
      const auto group = std::find_if(optim.groups.begin(), optim.groups.end(),
                                      [&](const ParamGroupConfig& g) { return glob_match(g.match, p.name); });
      const GroupSettings* own = &*optim.shape;
      if (group != optim.groups.end()) own = &*group;
      if (!found || own->lr > found->lr) found = own;
    }
  } catch (const Error&) {  // building the network says what is wrong
  }
  return found;
}

std::string pool_text(const Json& pool) {
  if (pool.empty()) return "as published";
  std::string text;
  if (pool.contains("default")) text = operator_text(pool.at("default"));
  for (const auto& [slot, config] : pool.items())
    if (slot != "default" && !(pool.contains("default") && pool.at("default") == config))
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", slot, operator_text(config));
  return text;
}

Json canonical_pool(Json pool) {
  for (auto& [slot, config] : pool.items()) {
    if (!config.is_object()) continue;
    fill_defaults(pool_keys(), config);
    if (config.contains("stride") && config.contains("kernel") && config["stride"] == config["kernel"])
      config.erase("stride");  // its default, which a key cannot state
  }
  return pool;
}

void label_row(Row& row, const Config& config, const Config& planned) {
  const auto differ = [](Json a, Json b, std::initializer_list<const char*> but_for = {}) {
    for (const char* key : but_for) {
      a.erase(key);
      b.erase(key);
    }
    return nlohmann::json(a) != nlohmann::json(b);  // whatever the order of the keys
  };
  const Json &model = config.resolved.at("model"), &before = planned.resolved.at("model");
  if (row.data.empty()) row.data = data_label(planned.data.variant);
  if (row.model.empty()) row.model = planned.model.name;
  if (row.pool.empty()) row.pool = pool_text(planned.model.pool);
  const GroupSettings* shapes = shape_group(config);
  row.learns_shape = shapes && shapes->lr > 0;  // a rate of 0 fixes the shapes
  row.lambda = config.loss.gmacs_lambda;

  std::vector<std::string> changed;
  const auto relabel = [&](const char* column, std::string& own, std::string label) {
    for (auto& [name, value] : row.labels)
      if (name == column) value = label;
    own = label;
    changed.push_back(std::move(label));
  };
  if (differ(config.resolved.at("data").at("variant"), planned.resolved.at("data").at("variant")))
    relabel("data", row.data, data_label(config.data.variant));
  if (differ(model, before, {"pool", "width"})) relabel("model", row.model, model_label(model, before));
  if (differ(model.at("pool"), before.at("pool"))) relabel("pool", row.pool, pool_text(model.at("pool")));
  if (row.lambda != planned.loss.gmacs_lambda) changed.push_back(fmt::format("lambda {:g}", row.lambda));
  row.title = changed.empty() ? row.name : fmt::format("{} ({})", row.name, fmt::join(changed, ", "));
}

}  // namespace tidepool
