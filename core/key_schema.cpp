#include "core/key_schema.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace tidepool {
namespace {

Json number_json(long double v) {
  return Json::parse(number_text(v));
}

// Of one value, whatever their number.
Json schema_of_one(const Key& key) {
  Json node = Json::object();
  if (!key.schema_file.empty()) {
    node["type"] = "object";
    node["required"] = Json::array({key.object.selector});
    node["allOf"] = Json::array({{{"$ref", key.schema_file}}});
  } else if (key.kind == Key::Kind::word) {
    node["enum"] = key.words;
    if (key.null) node["enum"].push_back(nullptr);
    return node;
  } else if (key.kind == Key::Kind::object) {
    node = schema_of(key.object);
    if (!key.words.empty()) node = {{"anyOf", Json::array({{{"enum", key.words}}, node})}};
  } else {
    node["type"] = kind_name(key.kind);
  }
  if (key.null) {
    if (node.contains("type"))
      node["type"] = Json::array({node["type"], "null"});
    else
      node = {{"anyOf", Json::array({node, {{"type", "null"}}})}};
  }
  if (key.kind == Key::Kind::integer || key.kind == Key::Kind::number) {
    if (has_least(key)) node[key.above_least ? "exclusiveMinimum" : "minimum"] = number_json(key.least);
    if (has_most(key)) node[key.below_most ? "exclusiveMaximum" : "maximum"] = number_json(key.most);
    if (!key.words.empty()) node = {{"anyOf", Json::array({{{"enum", key.words}}, node})}};
  }
  return node;
}

// Without its default and help.
Json bare_schema(const Key& key) {
  const Json one = schema_of_one(key);
  Json list{{"type", "array"}, {"items", one}};
  switch (key.many) {
    case Key::Many::one:
      return one;
    case Key::Many::per_axis:
      list["minItems"] = key.fewest;
      list["maxItems"] = key.longest;
      return {{"anyOf", Json::array({one, list})}};
    case Key::Many::list:
      if (key.fewest > 0) list["minItems"] = key.fewest;
      if (key.longest != SIZE_MAX) list["maxItems"] = key.longest;
      return list;
    case Key::Many::map:
      return {{"type", "object"}, {"additionalProperties", one}};
  }
  return one;
}

// One branch of an object whose options stand alone.
Json object_schema(const std::vector<Key>& keys, const Json& first = Json::object()) {
  Json properties = first, required = Json::array();
  for (const auto& item : first.items()) required.push_back(item.key());
  for (const Key& key : keys) {
    properties[key.name] = schema_of(key);
    if (key.required) required.push_back(key.name);
  }
  Json node{{"type", "object"}, {"additionalProperties", false}};
  if (!required.empty()) node["required"] = required;
  node["properties"] = properties;
  return node;
}

std::string without_stop(std::string text) {
  if (text.ends_with('.')) text.pop_back();
  return text;
}

// "sgd: momentum (default: 0.9)."
std::string told_by(const KeyOption& option, const Key& key) {
  const std::string &value = key.default_value, help = without_stop(key.help);
  return fmt::format("{}: {}{}.", option.name, help, value.empty() ? "" : fmt::format(" (default: {})", value));
}

}  // namespace

Json schema_of(const Key& key) {
  Json node = bare_schema(key);
  if (!key.default_value.empty()) node["default"] = Json::parse(key.default_value);
  node["description"] = key.help;
  return node;
}

Json schema_of(const KeyList& list) {
  if (list.options.empty()) return object_schema(list.keys);
  if (list.keys.size() == 1 && !list.selector.empty()) {  // the selector alone: each option is an object of its own
    Json branches = Json::array();
    for (const KeyOption& option : list.options)
      branches.push_back(
          object_schema(option.keys, {{list.selector, {{"const", option.name}, {"description", option.help}}}}));
    return {{"oneOf", branches}};
  }
  Json node = object_schema(list.keys), known = Json::object();
  Json& properties = node["properties"];
  for (const KeyOption& option : list.options)
    for (const Key& key : option.keys) {
      // What an option may not have is refused when it is read; an editor knows what any of them takes.
      const Json bare = bare_schema(key);
      Json& forms = known[key.name];
      if (std::find(forms.begin(), forms.end(), bare) == forms.end()) forms.push_back(bare);
      const bool first = !properties.contains(key.name);
      const std::string before = first ? "" : properties[key.name]["description"].get<std::string>() + " ";
      properties[key.name] = forms.size() == 1 ? forms[0] : Json{{"anyOf", forms}};
      properties[key.name]["description"] = before + told_by(option, key);
    }
  if (!list.selector.empty()) {
    std::string all = properties[list.selector]["description"].get<std::string>();
    for (const KeyOption& option : list.options)
      if (!option.help.empty()) all += fmt::format(" {}: {}.", option.name, without_stop(option.help));
    properties[list.selector]["description"] = all;
  }
  return node;
}

namespace {

void write_pretty(const Json& json, size_t indent, size_t before, std::string& text) {
  constexpr size_t kWidth = 120;
  // nlohmann's one line has no spaces; ours reads better.
  const auto one_line = [](const auto& self, const Json& value) -> std::string {
    if (!value.is_structured()) return value.dump();
    std::string line;
    for (const auto& item : value.items()) {
      if (!line.empty()) line += ", ";
      if (value.is_object()) line += Json(item.key()).dump() + ": ";
      line += self(self, item.value());
    }
    return value.is_object() ? fmt::format("{{{}}}", line) : fmt::format("[{}]", line);
  };
  if (const std::string line = one_line(one_line, json);
      !json.is_structured() || json.empty() || before + line.size() < kWidth) {
    text += line;
    return;
  }
  text += json.is_object() ? "{" : "[";
  bool first = true;
  for (const auto& item : json.items()) {
    text += first ? "\n" : ",\n";
    first = false;
    text.append(indent + 2, ' ');
    const std::string name = json.is_object() ? Json(item.key()).dump() + ": " : "";
    text += name;
    write_pretty(item.value(), indent + 2, indent + 2 + name.size(), text);
  }
  text += '\n';
  text.append(indent, ' ');
  text += json.is_object() ? '}' : ']';
}

}  // namespace

std::string pretty_json(const Json& json) {
  std::string text;
  write_pretty(json, 0, 0, text);
  return text + "\n";
}

}  // namespace tidepool
