#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "train/optimizers/rule.h"

namespace tidepool {

// The list is a table and not a matter of static constructors, which a linker may leave out of a static library.
const OptimizerDescription& optimizer_adamw();
const OptimizerDescription& optimizer_rmsprop();
const OptimizerDescription& optimizer_sgd();

std::vector<const OptimizerDescription*> optimizers() {
  return {&optimizer_adamw(), &optimizer_rmsprop(), &optimizer_sgd()};
}

const OptimizerDescription& find_optimizer(const std::string& name) {
  std::vector<std::string> names;
  for (const OptimizerDescription* each : optimizers()) {
    if (each->name == name) return *each;
    names.push_back(each->name);
  }
  throw Error("unknown optimizer '{}'{}; known: {}", name, did_you_mean(name, names), fmt::join(names, ", "));
}

namespace {

// A whole number without its ".0".
Json as_json(double v) {
  return v == std::floor(v) ? Json(static_cast<int64_t>(v)) : Json(v);
}

}  // namespace

OptimizerKeys::OptimizerKeys(const Json* values)
    : values_(values), described_(std::make_unique<Json>(Json::object())) {}
OptimizerKeys::~OptimizerKeys() = default;

OptimizerKeys::Limits OptimizerKeys::Limits::limit(const char* keyword, double bound) const {
  Json& node = node_->contains("items") ? (*node_)["items"] : *node_;
  node[keyword] = as_json(bound);
  return *this;
}

const Json* OptimizerKeys::find(const char* name, const Json& schema, const char* help) {
  Json& node = (*described_)[name] = schema;
  node["description"] = help;
  if (!values_ || !values_->contains(name)) return nullptr;
  return &values_->at(name);
}

OptimizerKeys::Limits OptimizerKeys::number(const char* name, double& v, const char* help) {
  if (const Json* value = find(name, {{"type", "number"}, {"default", as_json(v)}}, help)) v = value->get<double>();
  return Limits(&(*described_)[name]);
}

OptimizerKeys::Limits OptimizerKeys::numbers(const char* name, std::span<double> v, const char* help) {
  const Json schema{{"type", "array"},
                    {"minItems", v.size()},
                    {"maxItems", v.size()},
                    {"items", {{"type", "number"}}},
                    {"default", std::vector<double>(v.begin(), v.end())}};
  if (const Json* value = find(name, schema, help))
    for (size_t i = 0; i < v.size(); ++i) v[i] = value->at(i).get<double>();
  return Limits(&(*described_)[name]);
}

void OptimizerKeys::flag(const char* name, bool& v, const char* help) {
  if (const Json* value = find(name, {{"type", "boolean"}, {"default", v}}, help)) v = value->get<bool>();
}

void OptimizerKeys::expect(bool ok, const char* name, const char* help) {
  if (!ok && !complaint_) complaint_.emplace(name, help);
}

const Json& optimizer_keys(const OptimizerDescription& optimizer) {
  static const std::map<std::string, Json> kAll = [] {
    std::map<std::string, Json> all;
    for (const OptimizerDescription* each : optimizers()) {
      OptimizerKeys keys(nullptr);
      each->keys(keys);
      all[each->name] = keys.described();
    }
    return all;
  }();
  return kAll.at(optimizer.name);
}

void describe_optimizers(Json& schema) {
  Json& optim = schema.at("properties").at("optim").at("properties");
  Json& group = optim.at("groups").at("items").at("properties");
  Json names = Json::array(), known = Json::object();
  std::string all = "The optimizer.";
  for (const OptimizerDescription* each : optimizers()) {
    names.push_back(each->name);
    all += fmt::format(" {}: {}.", each->name, each->help);
    for (const auto& [key, described] : optimizer_keys(*each).items()) {
      Json node = described;  // without a default, which each optimizer has of its own
      const std::string default_value = node["default"].dump();
      const std::string help = fmt::format("{}: {}", each->name, node["description"].get<std::string>());
      node.erase("default");
      node.erase("description");
      const bool first = !known.contains(key);
      if (!first && known[key] != node)
        throw Failure("the key '{}' of {} has another type or range in another optimizer", key, each->name);
      known[key] = node;
      const auto put = [&](Json& properties, const std::string& text) {
        const std::string before = first ? "" : properties[key]["description"].get<std::string>() + " ";
        properties[key] = node;
        properties[key]["description"] = before + text;
      };
      put(optim, fmt::format("{} (default: {}).", help, default_value));
      put(group, help + ".");
    }
  }
  optim["name"]["enum"] = names;
  optim["name"]["description"] = all;
}

}  // namespace tidepool
