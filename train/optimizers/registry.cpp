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

OptimizerKeys::OptimizerKeys(const Json* values)
    : values_(values), described_(std::make_unique<Json>(Json::object())) {}
OptimizerKeys::~OptimizerKeys() = default;

OptimizerKeys::Limits OptimizerKeys::Limits::limit(const char* keyword, double bound) const {
  Json& node = node_->contains("items") ? (*node_)["items"] : *node_;
  if (bound == std::floor(bound))
    node[keyword] = static_cast<int64_t>(bound);  // a schema says 0, not 0.0
  else
    node[keyword] = bound;
  return *this;
}

const Json* OptimizerKeys::find(const char* name, const Json& schema, const char* says) {
  Json& node = (*described_)[name] = schema;
  node["description"] = says;
  if (!values_ || !values_->contains(name)) return nullptr;
  return &values_->at(name);
}

OptimizerKeys::Limits OptimizerKeys::number(const char* name, double& v, const char* says) {
  if (const Json* value = find(name, {{"type", "number"}, {"default", v}}, says)) v = value->get<double>();
  return Limits(&(*described_)[name]);
}

OptimizerKeys::Limits OptimizerKeys::numbers(const char* name, std::span<double> v, const char* says) {
  const Json schema{{"type", "array"},
                    {"minItems", v.size()},
                    {"maxItems", v.size()},
                    {"items", {{"type", "number"}}},
                    {"default", std::vector<double>(v.begin(), v.end())}};
  if (const Json* value = find(name, schema, says))
    for (size_t i = 0; i < v.size(); ++i) v[i] = value->at(i).get<double>();
  return Limits(&(*described_)[name]);
}

void OptimizerKeys::flag(const char* name, bool& v, const char* says) {
  if (const Json* value = find(name, {{"type", "boolean"}, {"default", v}}, says)) v = value->get<bool>();
}

void OptimizerKeys::expect(bool ok, const char* name, const char* says) {
  if (!ok && !complaint_) complaint_.emplace(name, says);
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
  Json names = Json::array(), keys = Json::object();
  std::string says = "The optimizer.";
  for (const OptimizerDescription* each : optimizers()) {
    names.push_back(each->name);
    says += fmt::format(" {}: {}.", each->name, each->says);
    for (const auto& [key, described] : optimizer_keys(*each).items()) {
      Json node = described;
      // No default: each optimizer has its own.
      const std::string of_this = fmt::format("{}: {} (default: {}).", each->name,
                                              node["description"].get<std::string>(), node["default"].dump());
      node.erase("default");
      node.erase("description");
      if (!keys.contains(key)) {
        keys[key] = node;
        keys[key]["description"] = of_this;
        continue;
      }
      const std::string before = keys[key]["description"].get<std::string>();
      Json same = keys[key];
      same.erase("description");
      if (same != node) throw Failure("the key '{}' of {} has another type or range in {}", key, each->name, before);
      keys[key]["description"] = before + " " + of_this;
    }
  }
  Json& optim = schema.at("properties").at("optim").at("properties");
  optim["name"]["enum"] = names;
  optim["name"]["description"] = says;
  Json& group = optim.at("groups").at("items").at("properties");
  for (const auto& [key, node] : keys.items()) optim[key] = group[key] = node;
}

}  // namespace tidepool
