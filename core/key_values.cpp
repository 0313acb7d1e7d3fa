#include "core/key_values.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>

namespace tidepool {
namespace {

// Calls f(inner object, its path) for each object that stands under a key of `object`.
template <class F>
void each_inner(const Key& key, Json& value, const std::string& path, const F& f) {
  if (key.kind != Key::Kind::object) return;
  if (key.many == Key::Many::one) {
    f(value, path);
  } else if (key.many == Key::Many::list && value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) f(value[i], join_path(path, std::to_string(i)));
  } else if (key.many == Key::Many::map && value.is_object()) {
    for (auto& item : value.items()) f(item.value(), join_path(path, item.key()));
  }
}

void make_whole(Json& value) {
  constexpr double kLargestExact = 0x1p53;
  if (value.is_number_float())
    if (const double v = value.get<double>(); std::floor(v) == v && std::abs(v) <= kLargestExact)
      value = static_cast<int64_t>(v);
  if (value.is_structured())
    for (Json& one : value) make_whole(one);
}

void fill(const KeyList& list, Json& object, const std::string& around) {
  if (!object.is_object()) return;
  const std::string in_use = option_in_use(list, object, around);
  Json ordered = Json::object();
  const auto take = [&](const std::vector<Key>& keys, size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const Key& key = keys[i];
      if (object.contains(key.name))
        ordered[key.name] = object[key.name];
      else if (!key.default_value.empty())
        ordered[key.name] = Json::parse(key.default_value);
      else
        continue;
      Json& value = ordered[key.name];
      if (key.kind == Key::Kind::integer) make_whole(value);
      if (!key.as_written)
        each_inner(key, value, "", [&](Json& inner, const std::string&) { fill(key.object, inner, in_use); });
    }
  };
  const size_t middle = std::min(list.options_at, list.keys.size());
  take(list.keys, 0, middle);
  if (const KeyOption* option = find_option(list, in_use)) take(option->keys, 0, option->keys.size());
  take(list.keys, middle, list.keys.size());
  for (auto& item : object.items())
    if (!ordered.contains(item.key())) ordered[item.key()] = item.value();
  object = std::move(ordered);
}

void erase_unused(const KeyList& list, Json& object) {
  if (!object.is_object()) return;
  if (const KeyOption* option = find_option(list, option_in_use(list, object, "")))
    each_option_key(list, object, "", [&](Json& at, const std::string& key, const std::string&) {
      if (!find_key({}, option, key)) at.erase(key);
    });
  for (const Key& key : list.keys)
    if (object.contains(key.name))
      each_inner(key, object[key.name], "", [&](Json& inner, const std::string&) { erase_unused(key.object, inner); });
}

void collect_rows(const KeyList& list, const std::string& path, std::vector<KeyRow>& rows) {
  const auto add = [&](const Key& key, const KeyOption* option) {
    std::string at = join_path(path, key.name);
    rows.push_back({.path = at, .key = &key, .option = option});
    if (key.kind != Key::Kind::object || !key.page.empty()) return;
    if (key.many == Key::Many::list) at += ".N";
    if (key.many == Key::Many::map) at += ".NAME";
    collect_rows(key.object, at, rows);
  };
  for (size_t i = 0; i <= list.keys.size(); ++i) {
    if (i == list.options_at)
      for (const KeyOption& option : list.options)
        for (const Key& key : option.keys) add(key, &option);
    if (i < list.keys.size()) add(list.keys[i], nullptr);
  }
}

}  // namespace

void fill_defaults(const KeyList& list, Json& object) {
  fill(list, object, "");
}

void each_option_key(const KeyList& list, Json& object, const std::string& path, const OptionKeyVisit& f) {
  if (!object.is_object()) return;
  std::set<std::string> own;
  for (const KeyOption& option : list.options)
    for (const Key& key : option.keys)
      if (object.contains(key.name)) own.insert(key.name);
  for (const std::string& key : own) f(object, key, join_path(path, key));
  for (const Key& key : list.keys)
    if (key.object.selector.empty() && object.contains(key.name))
      each_inner(key, object[key.name], join_path(path, key.name),
                 [&](Json& inner, const std::string& at) { each_option_key(key.object, inner, at, f); });
}

void erase_unused_options(const KeyList& list, Json& object) {
  erase_unused(list, object);
}

void merge(const KeyList& list, Json& base, const Json& over) {
  if (!base.is_object() || !over.is_object()) {
    base = over;
    return;
  }
  if (!list.selector.empty() && over.contains(list.selector) &&
      option_in_use(list, base, "") != option_in_use(list, over, ""))
    each_option_key(list, base, "", [](Json& at, const std::string& key, const std::string&) { at.erase(key); });
  const KeyOption* option = find_option(list, option_in_use(list, over.contains(list.selector) ? over : base, ""));
  for (const auto& item : over.items()) {
    if (!base.contains(item.key())) {
      base[item.key()] = item.value();
      continue;
    }
    Json& value = base[item.key()];
    const Key* key = find_key(list, option, item.key());
    const KeyList none;
    const KeyList& inner = key && key->kind == Key::Kind::object ? key->object : none;
    if (key && key->many == Key::Many::map && value.is_object() && item.value().is_object())
      for (const auto& one : item.value().items())
        if (value.contains(one.key()))
          merge(inner, value[one.key()], one.value());
        else
          value[one.key()] = one.value();
    else
      merge(inner, value, item.value());
  }
}

void KeyCursor::enter(const std::string& name, const Json& here) {
  if (in_many_) {
    in_many_ = false;
    list_ = key_->kind == Key::Kind::object ? &key_->object : nullptr;
    return;
  }
  const KeyList* list = list_;
  list_ = nullptr;
  key_ = nullptr;
  if (!list) return;
  in_use_ = option_in_use(*list, here, in_use_);
  key_ = find_key(*list, find_option(*list, in_use_), name);
  for (const KeyOption& option : list->options)
    if (!key_) key_ = find_key({}, &option, name);
  if (!key_) return;
  in_many_ = key_->many == Key::Many::list || key_->many == Key::Many::map;
  if (!in_many_ && key_->kind == Key::Kind::object) list_ = &key_->object;
}

bool KeyCursor::wants_text() const {
  return key_ && !in_many_ && key_->kind == Key::Kind::text && !key_->null;
}

std::vector<KeyRow> key_rows(const KeyList& list) {
  std::vector<KeyRow> rows;
  collect_rows(list, "", rows);
  return rows;
}

}  // namespace tidepool
