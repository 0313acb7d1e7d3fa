#include "train/schema.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "core/error.h"

namespace tidepool {
namespace {

constexpr double kLargestExact = 9007199254740992.0;  // 2^53: beyond it a float is no exact whole number

bool whole(const Json& value) {
  if (value.is_number_integer()) return true;  // of 64 bits, with a sign or without
  if (!value.is_number_float()) return false;
  const double number = value.get<double>();
  return std::floor(number) == number && std::abs(number) <= kLargestExact;
}

bool has_type(const Json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  if (type == "integer") return whole(value);
  return value.is_number();
}

std::string in_words(const std::string& type) {
  if (type == "object") return "an object";
  if (type == "array") return "a list";
  if (type == "string") return "a string";
  if (type == "boolean") return "true or false";
  if (type == "integer") return "a whole number";
  if (type == "number") return "a number";
  return type;
}

std::vector<std::string> types_of(const Json& node) {
  if (!node.contains("type")) return {};
  const Json& type = node["type"];
  if (type.is_string()) return {type.get<std::string>()};
  return type.get<std::vector<std::string>>();
}

std::string join(const std::vector<std::string>& words, std::string_view between) {
  std::string all;
  for (const std::string& word : words) {
    if (!all.empty()) all += between;
    all += word;
  }
  return all;
}

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& item : object.items()) keys.push_back(item.key());
  return keys;
}

// A double would take 2^63 for 2^63 - 1. A long double's 64 bits of mantissa hold every integer that JSON gives us.
long double exact(const Json& number) {
  static_assert(std::numeric_limits<long double>::digits >= 64);
  if (number.is_number_unsigned()) return static_cast<long double>(number.get<uint64_t>());
  if (number.is_number_integer()) return static_cast<long double>(number.get<int64_t>());
  return static_cast<long double>(number.get<double>());
}

std::string number_text(const Json& number) {
  return number.dump();
}

// One pass over a value along the schema. The schema is small: $ref is resolved by copying.
class Walker {
 public:
  explicit Walker(const Json& root) : root_(root) {}

  Json resolve(const Json& node) const {
    if (!node.contains("$ref")) return node;
    Json target = root_.at(Json::json_pointer(node["$ref"].get<std::string>().substr(1)));
    for (const auto& item : node.items()) {
      if (item.key() != "$ref") target[item.key()] = item.value();
    }
    return target;
  }

  static std::vector<std::string> branch_names(const Json& node) {
    std::vector<std::string> names;
    for (const Json& branch : node["oneOf"]) names.push_back(branch["properties"]["type"]["const"].get<std::string>());
    return names;
  }

  // The branch of a oneOf that the value's "type" chooses, or null.
  static const Json* branch_of(const Json& node, const Json& value) {
    if (!value.is_object() || !value.contains("type")) return nullptr;
    for (const Json& branch : node["oneOf"]) {
      if (branch["properties"]["type"]["const"] == value["type"]) return &branch;
    }
    return nullptr;
  }

  // The schema of the value under a key of an object or an index of a list, or null where the schema is open.
  Json child(const Json& node, const Json& value, const std::string& key) const {
    if (node.is_null()) return nullptr;
    if (node.contains("oneOf")) {
      const Json* branch = branch_of(node, value);
      return branch == nullptr ? Json(nullptr) : child(resolve(*branch), value, key);
    }
    if (node.contains("properties") && node["properties"].contains(key)) return resolve(node["properties"][key]);
    if (node.contains("additionalProperties") && node["additionalProperties"].is_object()) {
      return resolve(node["additionalProperties"]);
    }
    if (node.contains("items")) return resolve(node["items"]);
    return nullptr;
  }

  void fill(const Json& unresolved, Json& value) const {
    const Json node = resolve(unresolved);
    if (node.contains("oneOf")) {
      if (const Json* branch = branch_of(node, value)) fill(*branch, value);
      return;
    }
    if (value.is_number_float() && whole(value)) {
      const std::vector<std::string> types = types_of(node);
      const bool integer = std::find(types.begin(), types.end(), "integer") != types.end();
      if (integer) value = static_cast<int64_t>(value.get<double>());
    }
    if (value.is_array() && node.contains("items")) {
      for (Json& element : value) fill(node["items"], element);
    }
    if (!value.is_object()) return;
    Json ordered = Json::object();
    if (node.contains("properties")) {
      for (const auto& property : node["properties"].items()) {
        if (value.contains(property.key())) {
          ordered[property.key()] = value[property.key()];
        } else {
          const Json schema = resolve(property.value());
          if (!schema.contains("default")) continue;
          ordered[property.key()] = schema["default"];
        }
        fill(property.value(), ordered[property.key()]);
      }
    }
    for (auto& item : value.items()) {
      if (ordered.contains(item.key())) continue;
      ordered[item.key()] = item.value();
      if (node.contains("additionalProperties") && node["additionalProperties"].is_object()) {
        fill(node["additionalProperties"], ordered[item.key()]);
      }
    }
    value = std::move(ordered);
  }

  void validate(const Json& unresolved, const Json& value, const std::string& path, const Origins& origins) const {
    const Json node = resolve(unresolved);
    const auto fail = [&](const std::string& at, const std::string& message) {
      throw Error("{}{}: {}", origin_of(origins, at), at.empty() ? "the config" : at, message);
    };

    if (node.contains("oneOf")) {
      const std::vector<std::string> names = branch_names(node);
      if (!value.is_object()) fail(path, fmt::format("expected an object, got {}", brief_json(value)));
      if (!value.contains("type")) fail(path, fmt::format("needs a key 'type', one of {}", join(names, ", ")));
      const Json* branch = branch_of(node, value);
      if (branch == nullptr) {
        const Json& type = value["type"];
        fail(join_path(path, "type"),
             fmt::format("expected one of {}; got {}{}", join(names, ", "), brief_json(type),
                         type.is_string() ? did_you_mean(type.get<std::string>(), names) : ""));
      }
      validate(*branch, value, path, origins);
      return;
    }

    if (node.contains("enum")) {
      const Json& allowed = node["enum"];
      if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
        std::vector<std::string> names;
        for (const Json& each : allowed) names.push_back(each.is_string() ? each.get<std::string>() : each.dump());
        fail(path, fmt::format("expected one of {}; got {}{}", join(names, ", "), brief_json(value),
                               value.is_string() ? did_you_mean(value.get<std::string>(), names) : ""));
      }
    }

    const std::vector<std::string> types = types_of(node);
    if (!types.empty() &&
        std::none_of(types.begin(), types.end(), [&](const std::string& type) { return has_type(value, type); })) {
      std::vector<std::string> words;
      for (const std::string& type : types) words.push_back(in_words(type));
      // 1e300 is whole, but no integer of ours
      const bool large = std::find(types.begin(), types.end(), "integer") != types.end() && value.is_number() &&
                         std::abs(value.get<double>()) > kLargestExact;
      const std::string limit =
          large ? fmt::format(" not above {} (as digits)", number_text(node["maximum"])) : std::string();
      fail(path, fmt::format("expected {}{}, got {}", join(words, " or "), limit, brief_json(value)));
    }

    if (value.is_number()) {
      const auto number = exact(value);
      const auto bound = [&](const char* keyword, const char* words, auto holds) {
        if (node.contains(keyword) && !holds(number, exact(node[keyword]))) {
          fail(path, fmt::format("expected a number {} {}, got {}", words, number_text(node[keyword]), value.dump()));
        }
      };
      bound("minimum", "not below", [](auto x, auto limit) { return x >= limit; });
      bound("exclusiveMinimum", "above", [](auto x, auto limit) { return x > limit; });
      bound("maximum", "not above", [](auto x, auto limit) { return x <= limit; });
      bound("exclusiveMaximum", "below", [](auto x, auto limit) { return x < limit; });
    }

    if (value.is_array()) {
      const auto count = [&](const char* keyword, const char* words, auto holds) {
        if (node.contains(keyword) && !holds(value.size(), node[keyword].get<size_t>())) {
          fail(path,
               fmt::format("expected a list of {} {}, got {}", words, number_text(node[keyword]), brief_json(value)));
        }
      };
      count("minItems", "at least", [](size_t n, size_t limit) { return n >= limit; });
      count("maxItems", "at most", [](size_t n, size_t limit) { return n <= limit; });
      if (node.contains("items")) {
        for (size_t i = 0; i < value.size(); ++i) {
          validate(node["items"], value[i], join_path(path, std::to_string(i)), origins);
        }
      }
    }

    if (value.is_object()) {
      const Json none = Json::object();
      const Json& properties = node.contains("properties") ? node["properties"] : none;
      const Json open = true;
      const Json& others = node.contains("additionalProperties") ? node["additionalProperties"] : open;
      // Unknown keys before missing ones: a misspelt key is both, and its name says more.
      for (const auto& item : value.items()) {
        const std::string at = join_path(path, item.key());
        if (properties.contains(item.key())) continue;
        if (others.is_boolean() && !others.get<bool>()) fail(at, unknown_key(item.key(), path, keys_of(properties)));
        if (others.is_object()) validate(others, item.value(), at, origins);
      }
      if (node.contains("required")) {
        for (const Json& name : node["required"]) {
          if (!value.contains(name.get<std::string>())) {
            fail(path, fmt::format("needs a key '{}'", name.get<std::string>()));
          }
        }
      }
      for (const auto& item : value.items()) {
        if (!properties.contains(item.key())) continue;
        validate(properties[item.key()], item.value(), join_path(path, item.key()), origins);
      }
    }
  }

  // Every keyword known, every reference resolved; so a slip in the schema is found by the first config that loads.
  void check(const Json& node, const std::string& path) const {
    static const std::vector<std::string> kKnown = {"type",     "properties",
                                                    "required", "additionalProperties",
                                                    "enum",     "const",
                                                    "minimum",  "maximum",
                                                    "items",    "exclusiveMinimum",
                                                    "minItems", "exclusiveMaximum",
                                                    "maxItems", "default",
                                                    "$ref",     "description",
                                                    "examples", "oneOf",
                                                    "allOf",    "$schema",
                                                    "$id",      "title",
                                                    "$defs"};
    if (node.is_boolean()) return;
    if (!node.is_object()) throw Error("{}: expected a schema, got {}", path, brief_json(node));
    for (const auto& item : node.items()) {
      if (std::find(kKnown.begin(), kKnown.end(), item.key()) == kKnown.end()) {
        throw Error("{}: this validator does not know the keyword '{}'", path, item.key());
      }
    }
    // What reads an integer counts on a width: a key without a bound would be cut to it.
    const std::vector<std::string> types = types_of(node);
    if (std::find(types.begin(), types.end(), "integer") != types.end() &&
        !(node.contains("minimum") && node.contains("maximum"))) {
      throw Error("{}: an integer needs a minimum and a maximum", path);
    }
    if (node.contains("$ref")) {
      const std::string target = node["$ref"].get<std::string>();
      if (!target.starts_with("#/") || !root_.contains(Json::json_pointer(target.substr(1)))) {
        throw Error("{}: $ref to {}, which is not there", path, target);
      }
    }
    for (const char* group : {"properties", "$defs"}) {
      if (!node.contains(group)) continue;
      for (const auto& item : node[group].items()) check(item.value(), path + "/" + group + "/" + item.key());
    }
    for (const char* single : {"items", "additionalProperties"}) {
      if (node.contains(single)) check(node[single], path + "/" + single);
    }
    if (node.contains("oneOf")) {
      for (const Json& branch : node["oneOf"]) {
        check(branch, path + "/oneOf");
        if (!branch.contains(Json::json_pointer("/properties/type/const"))) {
          throw Error("{}: a branch of oneOf needs a const 'type'", path);
        }
      }
    }
  }

 private:
  std::string unknown_key(const std::string& key, const std::string& parent,
                          const std::vector<std::string>& known) const {
    // A key in the wrong section is commoner than a key far misspelt; "type" stands in many, and says nothing.
    std::vector<std::string> elsewhere;
    if (key != "type") find_key(root_, key, "", elsewhere);
    if (!elsewhere.empty()) return fmt::format("unknown key here (did you mean '{}'?)", elsewhere.front());
    const std::string near = nearest_name(key, known);
    if (!near.empty()) return fmt::format("unknown key (did you mean '{}'?)", join_path(parent, near));
    return fmt::format("unknown key; {} has {}", parent.empty() ? "a config" : parent, join(known, ", "));
  }

  void find_key(const Json& unresolved, const std::string& key, const std::string& path,
                std::vector<std::string>& found) const {
    const Json node = resolve(unresolved);
    if (!node.contains("properties")) return;
    for (const auto& item : node["properties"].items()) {
      const std::string at = join_path(path, item.key());
      if (item.key() == key) found.push_back(at);
      find_key(item.value(), key, at, found);
    }
  }

  const Json& root_;
};

}  // namespace

std::string origin_of(const Origins& origins, std::string path) {
  while (true) {
    if (const auto found = origins.find(path); found != origins.end()) return found->second + ": ";
    if (path.empty()) return "";
    const size_t dot = path.rfind('.');
    path = dot == std::string::npos ? "" : path.substr(0, dot);
  }
}

Schema::Schema(std::string_view text, std::string_view origin)
    : root_(std::make_shared<const Json>(parse_json(text, origin))) {
  Walker(*root_).check(*root_, std::string(origin));
}

void Schema::fill_defaults(Json& value) const {
  Walker(*root_).fill(*root_, value);
}

void Schema::validate(const Json& value, const Origins& origins) const {
  Walker(*root_).validate(*root_, value, "", origins);
}

bool Schema::wants_string(std::string_view path, const Json& value) const {
  const Walker walker(*root_);
  Json node = *root_;
  Json at = value;
  while (!path.empty()) {
    const size_t dot = path.find('.');
    const std::string key(path.substr(0, dot));
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
    node = walker.child(node, at, key);
    if (node.is_null()) return false;
    if (at.is_object() && at.contains(key)) {
      at = Json(at[key]);
    } else {
      at = nullptr;
    }
  }
  if (node.contains("const")) return node["const"].is_string();
  const std::vector<std::string> types = types_of(node);
  return types.size() == 1 && types.front() == "string";
}

}  // namespace tidepool
