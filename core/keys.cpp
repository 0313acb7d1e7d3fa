#include "core/keys.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

namespace tidepool {
namespace {

// A long double's 64 bits of mantissa hold every integer of ours; a double would take 2^63 for 2^63 - 1.
static_assert(std::numeric_limits<long double>::digits >= 64);
constexpr long double kInfinity = std::numeric_limits<long double>::infinity();
constexpr double kLargestExact = 9007199254740992.0;  // 2^53: beyond it a float is no exact whole number

long double exact(const Json& number) {
  if (number.is_number_unsigned()) return static_cast<long double>(number.get<uint64_t>());
  if (number.is_number_integer()) return static_cast<long double>(number.get<int64_t>());
  return static_cast<long double>(number.get<double>());
}

bool whole(const Json& value) {
  if (value.is_number_integer()) return true;
  if (!value.is_number_float()) return false;
  const double number = value.get<double>();
  return std::floor(number) == number && std::abs(number) <= kLargestExact;
}

// A whole number without its ".0".
Json number_json(double v) {
  return v == std::floor(v) && std::abs(v) <= kLargestExact ? Json(static_cast<int64_t>(v)) : Json(v);
}

// A default as JSON text, and a member's value from JSON: null is what is empty.
Json json_of(double v) {
  return number_json(v);
}
template <class T>
Json json_of(const T& v) {
  return v;
}
template <class T>
Json json_of(const std::optional<T>& v) {
  return v ? json_of(*v) : Json(nullptr);
}
template <class T>
Json json_of(std::span<T> v) {
  Json list = Json::array();
  for (const T& one : v) list.push_back(json_of(one));
  return list;
}
template <class T>
Json json_of(const std::vector<T>& v) {
  return json_of(std::span<const T>(v));
}
template <class T>
Json json_of(const PerAxis<T>& v) {
  return v.count == 1 ? json_of(v[0]) : json_of(std::span<const T>(v.values.data(), static_cast<size_t>(v.count)));
}

template <class T>
void read(const Json& value, T& v) {
  v = value.is_null() ? T{} : value.get<T>();
}
template <class T>
void read(const Json& value, std::optional<T>& v) {
  v = value.is_null() ? std::nullopt : std::optional<T>(value.get<T>());
}
// A word in place of the number is NaN, which no number of a config is.
void read(const Json& value, std::optional<double>& v) {
  if (value.is_string())
    v = std::numeric_limits<double>::quiet_NaN();
  else
    v = value.is_null() ? std::nullopt : std::optional(value.get<double>());
}
void read(const Json& value, std::span<double> v) {
  for (size_t i = 0; i < v.size(); ++i) v[i] = value.at(i).get<double>();
}
template <class T>
void read(const Json& value, PerAxis<T>& v) {
  v = {};
  if (!value.is_array())
    v = PerAxis<T>::all(value.get<T>());
  else
    for (const Json& one : value) v.values[static_cast<size_t>(v.count++)] = one.get<T>();
}

class Checker {
 public:
  Checker(const KeyList& root, const KeyFail& fail) : root_(root), fail_(fail) {}

  void check_object(const KeyList& list, const Json& object, const std::string& path, const std::string& around) const {
    if (!object.is_object()) fail(path, fmt::format("expected an object, got {}", brief_json(object)));
    const Key* selector = list.selector.empty() ? nullptr : find_key(list, nullptr, list.selector);
    if (selector) {  // it decides what the other keys are
      if (const auto value = object.find(selector->name); value != object.end())
        check_value(*selector, *value, join_path(path, selector->name), around);
      else if (selector->required)
        fail_missing(*selector, path);
    }
    const std::string in_use = option_in_use(list, object, around);
    const KeyOption* option = find_option(list, in_use);
    // Unknown keys before missing ones: a misspelt key is both, and its name says more.
    for (const auto& item : object.items())
      if (!find_key(list, option, item.key())) fail_unknown(list, option, item.key(), path);
    // A key that an option needs is missing where the option was chosen.
    const bool chosen = selector && object.contains(selector->name);
    const auto required = [&](const std::vector<Key>& keys, const std::string& at) {
      for (const Key& key : keys)
        if (key.required && !object.contains(key.name)) fail_missing(key, at);
    };
    required(list.keys, path);
    if (option) required(option->keys, chosen ? join_path(path, selector->name) : path);
    for (const auto& item : object.items())
      check_value(*find_key(list, option, item.key()), item.value(), join_path(path, item.key()), in_use);
  }

 private:
  [[noreturn]] void fail(const std::string& path, const std::string& message) const {
    fail_(path, message);
    throw Failure("{}: {}", path, message);  // not reached: a KeyFail throws
  }

  [[noreturn]] void fail_missing(const Key& key, const std::string& path) const {
    fail(path, fmt::format("needs a key '{}'{}", key.name,
                           key.words.empty() ? "" : fmt::format(", one of {}", fmt::join(key.words, ", "))));
  }

  [[noreturn]] void fail_unknown(const KeyList& list, const KeyOption* option, const std::string& name,
                                 const std::string& path) const {
    const std::string at = join_path(path, name);
    std::vector<std::string> having, own, known;
    for (const KeyOption& other : list.options)
      if (std::any_of(other.keys.begin(), other.keys.end(), [&](const Key& key) { return key.name == name; }))
        having.push_back(other.name);
    for (const Key& key : list.keys) known.push_back(key.name);
    if (option)
      for (const Key& key : option->keys) own.push_back(key.name);
    if (option && !having.empty())
      fail(at, fmt::format("{} has no such key, but {}; {}", option->name, fmt::join(having, " and "),
                           own.empty() ? "it has no keys of its own"
                                       : fmt::format("its own keys are {}", fmt::join(own, ", "))));
    known.insert(known.end(), own.begin(), own.end());
    // A key in the wrong section is commoner than a key far misspelt; "type" stands in many, and says nothing.
    std::vector<std::string> elsewhere;
    if (name != "type") find_elsewhere(root_, name, "", elsewhere);
    if (!elsewhere.empty()) fail(at, fmt::format("unknown key here (did you mean '{}'?)", elsewhere.front()));
    const std::string near = nearest_name(name, known);
    if (!near.empty()) fail(at, fmt::format("unknown key (did you mean '{}'?)", join_path(path, near)));
    if (known.empty()) fail(at, "unknown key; there are none here");
    fail(at, fmt::format("unknown key; {}{}", path.empty() ? "known: " : path + " has ", fmt::join(known, ", ")));
  }

  static void find_elsewhere(const KeyList& list, const std::string& name, const std::string& path,
                             std::vector<std::string>& found) {
    const auto look = [&](const std::vector<Key>& keys) {
      for (const Key& key : keys) {
        const std::string at = join_path(path, key.name);
        if (key.name == name) found.push_back(at);
        if (key.kind == Key::Kind::object && key.many == Key::Many::one) find_elsewhere(key.object, name, at, found);
      }
    };
    look(list.keys);
    for (const KeyOption& option : list.options) look(option.keys);
  }

  void check_value(const Key& key, const Json& value, const std::string& path, const std::string& in_use) const {
    switch (key.many) {
      case Key::Many::one:
        return check_one(key, value, path, in_use);
      case Key::Many::per_axis:
        if (!value.is_array()) return check_one(key, value, path, in_use);
        if (value.size() < key.fewest || value.size() > key.longest ||
            !std::all_of(value.begin(), value.end(), [&](const Json& one) { return has_kind(key, one); }))
          fail_value(key, value, path);
        for (const Json& one : value) check_one(key, one, path, in_use);
        return;
      case Key::Many::list:
        if (!value.is_array() || value.size() < key.fewest || value.size() > key.longest)
          fail(path, fmt::format("expected {}, got {}", type_text(key), brief_json(value)));
        break;
      case Key::Many::map:
        if (!value.is_object()) fail(path, fmt::format("expected {}, got {}", type_text(key), brief_json(value)));
        for (const auto& item : value.items()) check_one(key, item.value(), join_path(path, item.key()), in_use);
        return;
    }
    for (size_t i = 0; i < value.size(); ++i) check_one(key, value[i], join_path(path, std::to_string(i)), in_use);
  }

  static std::string expected(const Key& key) {
    const char* null = key.null ? " or null" : "";
    switch (key.kind) {
      case Key::Kind::boolean:
        return fmt::format("true or false{}", null);
      case Key::Kind::text:
        return fmt::format("a string{}", null);
      case Key::Kind::word:
        return fmt::format("one of {}{}", fmt::join(key.words, ", "), null);
      case Key::Kind::object:
        return fmt::format("{}an object{}",
                           key.words.empty() ? "" : fmt::format("one of {} or ", fmt::join(key.words, ", ")), null);
      default: {
        Key one = key;  // of many
        if (key.many != Key::Many::per_axis) one.many = Key::Many::one;
        return type_text(one);
      }
    }
  }

  [[noreturn]] void fail_value(const Key& key, const Json& value, const std::string& path) const {
    const bool words = !key.words.empty();
    fail(path, fmt::format("expected {}{} got {}{}", expected(key), words ? ";" : ",", brief_json(value),
                           words && value.is_string() ? did_you_mean(value.get<std::string>(), key.words) : ""));
  }

  static bool has_kind(const Key& key, const Json& value) {
    switch (key.kind) {
      case Key::Kind::boolean:
        return value.is_boolean();
      case Key::Kind::integer:
        return whole(value);
      case Key::Kind::number:
        return (value.is_number() && std::isfinite(value.get<double>())) || is_word(key, value);
      case Key::Kind::text:
        return value.is_string();
      case Key::Kind::word:
        return is_word(key, value);
      case Key::Kind::object:
        return value.is_object() || is_word(key, value);
    }
    return false;
  }

  void check_one(const Key& key, const Json& value, const std::string& path, const std::string& in_use) const {
    if (value.is_null() && key.null) return;
    if (key.kind == Key::Kind::integer && !has_most(key) && value.is_number_float() &&
        std::abs(value.get<double>()) > kLargestExact)
      fail(path, fmt::format("expected an integer up to {}, in digits, got {}", number_text(key.most), value.dump()));
    if (!has_kind(key, value)) fail_value(key, value, path);
    if (key.kind == Key::Kind::object && value.is_object()) check_object(key.object, value, path, in_use);
    if (key.kind == Key::Kind::integer || key.kind == Key::Kind::number) check_range(key, value, path);
  }

  static bool is_word(const Key& key, const Json& value) {
    return value.is_string() &&
           std::find(key.words.begin(), key.words.end(), value.get_ref<const std::string&>()) != key.words.end();
  }

  void check_range(const Key& key, const Json& value, const std::string& path) const {
    if (value.is_string()) return;  // a word in place of the number
    const long double v = exact(value);
    if (v > key.most && !has_most(key))
      fail(path, fmt::format("expected an integer up to {}, got {}", number_text(key.most), value.dump()));
    if (v < key.least || v > key.most || (key.above_least && v == key.least) || (key.below_most && v == key.most))
      fail_value(key, value, path);
  }

  const KeyList& root_;
  const KeyFail& fail_;
};

}  // namespace

bool has_least(const Key& key) {
  return std::isfinite(key.least) && key.least != -0x1p63L;
}
bool has_most(const Key& key) {
  return std::isfinite(key.most) && key.most != 0x1p63L - 1 && key.most != 0x1p64L - 1;
}

const char* kind_name(Key::Kind kind) {
  switch (kind) {
    case Key::Kind::boolean:
      return "boolean";
    case Key::Kind::integer:
      return "integer";
    case Key::Kind::number:
      return "number";
    case Key::Kind::object:
      return "object";
    case Key::Kind::text:
    case Key::Kind::word:
      return "string";
  }
  return "";
}

std::string type_text(const Key& key) {
  const std::string words = fmt::format("\"{}\"", fmt::join(key.words, "\" or \""));
  std::string text = key.words.empty()             ? kind_name(key.kind)
                     : key.kind == Key::Kind::word ? words
                                                   : fmt::format("{} or {}", words, kind_name(key.kind));
  const std::string count =
      key.fewest == key.longest ? fmt::format("{} ", key.fewest) : std::string();  // of a list whose length is fixed
  if (key.many == Key::Many::per_axis)
    text += count.empty() ? " or one per axis" : fmt::format(" or a list of {}", key.fewest);
  if (key.many == Key::Many::list) text = fmt::format("a list of {}{}s", count, text);
  if (key.many == Key::Many::map) text = fmt::format("an object of {}s", text);
  if (key.kind == Key::Kind::integer || key.kind == Key::Kind::number) {
    if (has_least(key)) text += fmt::format(" {} {}", key.above_least ? ">" : ">=", number_text(key.least));
    if (has_most(key))
      text += fmt::format("{} {} {}", has_least(key) ? "," : "", key.below_most ? "<" : "<=", number_text(key.most));
  }
  return text + (key.null ? " or null" : "");
}

std::string default_text(const Key& key) {
  return key.default_words.empty() ? key.default_value : key.default_words;
}

std::string number_text(long double v) {
  if (v == std::floor(v) && v > -0x1p63L - 1 && v < 0x1p64L)
    return v < 0 ? fmt::format("{}", static_cast<int64_t>(v)) : fmt::format("{}", static_cast<uint64_t>(v));
  return fmt::format("{}", static_cast<double>(v));
}

void check_keys(const KeyList& list, const Json& object, const KeyFail& fail) {
  Checker(list, fail).check_object(list, object, "", "");
}

const KeyOption* find_option(const KeyList& list, std::string_view name) {
  for (const KeyOption& option : list.options)
    if (option.name == name) return &option;
  return nullptr;
}

std::string option_in_use(const KeyList& list, const Json& object, const std::string& around) {
  if (list.selector.empty()) return around;
  if (object.is_object())
    if (const auto value = object.find(list.selector); value != object.end())
      return value->is_string() ? value->get<std::string>() : std::string();
  const Key* selector = find_key(list, nullptr, list.selector);
  return selector->default_value.empty() ? std::string() : Json::parse(selector->default_value).get<std::string>();
}

const Key* find_key(const KeyList& list, const KeyOption* option, std::string_view name) {
  for (const Key& key : list.keys)
    if (key.name == name) return &key;
  if (option)
    for (const Key& key : option->keys)
      if (key.name == name) return &key;
  return nullptr;
}

void expect_each_once(const KeyList& list) {
  const auto once = [](const std::vector<Key>& keys, std::set<std::string> names) {
    for (const Key& key : keys)
      if (!names.insert(key.name).second) throw Failure("the key '{}' is listed twice", key.name);
    return names;
  };
  const std::set<std::string> common = once(list.keys, {});
  for (const KeyOption& option : list.options) once(option.keys, common);
}

const Keys::Entry& Keys::Entry::at_least(long double low) const {
  if (key_) key_->least = low;
  return *this;
}
const Keys::Entry& Keys::Entry::at_most(long double high) const {
  if (key_) key_->most = high;
  return *this;
}
const Keys::Entry& Keys::Entry::above(long double low) const {
  if (key_) key_->above_least = true;
  return at_least(low);
}
const Keys::Entry& Keys::Entry::below(long double high) const {
  if (key_) key_->below_most = true;
  return at_most(high);
}
const Keys::Entry& Keys::Entry::otherwise(const char* words) const {
  if (key_) {
    key_->default_words = words;
    key_->default_value.clear();
    key_->null = false;
  }
  return *this;
}
const Keys::Entry& Keys::Entry::by_default(const char* json) const {
  if (key_) key_->default_value = json;
  return *this;
}
const Keys::Entry& Keys::Entry::required() const {
  if (key_) {
    key_->required = true;
    key_->default_value.clear();
  }
  return *this;
}
const Keys::Entry& Keys::Entry::or_null() const {
  if (key_) {
    key_->null = true;
    if (key_->default_value == "\"\"") key_->default_value = "null";
  }
  return *this;
}
const Keys::Entry& Keys::Entry::axes(size_t count) const {
  if (key_) key_->fewest = key_->longest = count;
  return *this;
}
const Keys::Entry& Keys::Entry::or_word(std::vector<std::string> words) const {
  if (key_) key_->words = std::move(words);
  return *this;
}
const Keys::Entry& Keys::Entry::as_written() const {
  if (key_) key_->as_written = true;
  return *this;
}
const Keys::Entry& Keys::Entry::decides_no_weights() const {
  if (key_) key_->decides_weights = false;
  return *this;
}
const Keys::Entry& Keys::Entry::described_in(const char* schema_file, const char* page) const {
  if (key_) {
    key_->schema_file = schema_file;
    key_->page = page;
  }
  return *this;
}

Key* Keys::describe(const char* name, Key::Kind kind, const char* help) {
  if (!list_) return nullptr;
  Key& key = into_->emplace_back();
  key.name = name;
  key.help = help;
  key.kind = kind;
  const bool integer = kind == Key::Kind::integer;
  key.least = integer ? -0x1p63L : -kInfinity;
  key.most = integer ? 0x1p63L - 1 : kInfinity;
  return &key;
}

const Json* Keys::find(const char* name) const {
  const auto value = object_->find(name);
  return value == object_->end() ? nullptr : &*value;
}

using Kind = Key::Kind;
using Many = Key::Many;

template <class T>
Keys::Entry Keys::value(const char* name, Key::Kind kind, Key::Many many, T&& v, const char* help) {
  if (Key* key = describe(name, kind, help)) {
    key->many = many;
    key->null = requires {
      v.has_value();
    };
    if (many == Many::per_axis) {
      key->fewest = 1;
      key->longest = 3;
    }
    key->default_value = json_of(v).dump();
    return Entry(key);
  }
  if (const Json* value = find(name)) read(*value, v);
  return Entry(nullptr);
}

Keys::Entry Keys::flag(const char* name, bool& v, const char* help) {
  return value(name, Kind::boolean, Many::one, v, help);
}
Keys::Entry Keys::integer(const char* name, int64_t& v, const char* help) {
  return value(name, Kind::integer, Many::one, v, help);
}
Keys::Entry Keys::integer(const char* name, uint64_t& v, const char* help) {
  return value(name, Kind::integer, Many::one, v, help).at_least(0).at_most(0x1p64L - 1);
}
Keys::Entry Keys::integer(const char* name, std::optional<int64_t>& v, const char* help) {
  return value(name, Kind::integer, Many::one, v, help);
}
Keys::Entry Keys::integers(const char* name, PerAxis<int64_t>& v, const char* help) {
  return value(name, Kind::integer, Many::per_axis, v, help);
}
Keys::Entry Keys::number(const char* name, double& v, const char* help) {
  return value(name, Kind::number, Many::one, v, help);
}
Keys::Entry Keys::number(const char* name, std::optional<double>& v, const char* help) {
  return value(name, Kind::number, Many::one, v, help);
}
Keys::Entry Keys::numbers(const char* name, PerAxis<double>& v, const char* help) {
  return value(name, Kind::number, Many::per_axis, v, help);
}
Keys::Entry Keys::numbers(const char* name, std::span<double> v, const char* help) {
  const Entry entry = value(name, Kind::number, Many::list, v, help);
  if (entry.key_) entry.key_->fewest = entry.key_->longest = v.size();
  return entry;
}
Keys::Entry Keys::list(const char* name, std::vector<int64_t>& v, const char* help) {
  const Entry entry = value(name, Kind::integer, Many::list, v, help);
  if (entry.key_) entry.key_->fewest = 1;
  return entry;
}
Keys::Entry Keys::list(const char* name, std::vector<double>& v, const char* help) {
  const Entry entry = value(name, Kind::number, Many::list, v, help);
  if (entry.key_) entry.key_->fewest = 1;
  return entry;
}
Keys::Entry Keys::map(const char* name, std::map<std::string, int64_t>& v, const char* help) {
  return value(name, Kind::integer, Many::map, v, help);
}
Keys::Entry Keys::text(const char* name, std::string& v, const char* help) {
  return value(name, Kind::text, Many::one, v, help);
}
Keys::Entry Keys::text(const char* name, const char* help) {
  return Entry(describe(name, Kind::text, help));
}

Keys::Entry Keys::choice(const char* name, std::string& v, std::vector<std::string> words, const char* help) {
  const Entry entry = value(name, Kind::word, Many::one, v, help);
  return entry.or_word(std::move(words));
}
Keys::Entry Keys::choose(const char* name, int& v, std::initializer_list<const char*> words, const char* help) {
  const std::vector<std::string> list(words.begin(), words.end());
  std::string word = list.at(static_cast<size_t>(v));
  const Entry entry = choice(name, word, list, help);
  v = static_cast<int>(std::find(list.begin(), list.end(), word) - list.begin());
  return entry;
}

Keys::Entry Keys::described_object(const char* name, const char* help, const Visit& visit) {
  Key* key = describe(name, Kind::object, help);
  Keys inner(key->object);
  visit(inner);
  key->default_value = "{}";
  // An option has to be named wherever the object is written; the one that the member has is the default.
  if (const Key* selector = find_key(key->object, nullptr, key->object.selector))
    if (selector->required && !inner.selected_.empty())
      key->default_value = Json{{selector->name, inner.selected_}}.dump();
  return Entry(key);
}
Keys::Entry Keys::described_objects(const char* name, const char* help, const Visit& visit) {
  const Entry entry = described_object(name, help, visit);
  entry.key_->many = Many::list;
  entry.key_->default_value = "[]";
  return entry;
}
Keys::Entry Keys::described_json(const char* name, const Json& v, const char* help, const Visit& visit) {
  const Entry entry = described_object(name, help, visit);
  entry.key_->default_value = v.dump();
  return entry;
}
Keys::Entry Keys::described_json_map(const char* name, const Json& v, const char* help, const Visit& visit) {
  const Entry entry = described_json(name, v, help, visit);
  entry.key_->many = Many::map;
  return entry;
}
void Keys::read_object(const Json& value, const std::string& name, const Visit& visit) const {
  Keys inner(value);
  inner.fail_ = fail_;
  inner.path_ = join_path(path_, name);
  visit(inner);
}
void Keys::read_json(const char* name, Json& v) const {
  if (const Json* value = find(name)) v = *value;
}
size_t Keys::length(const char* name) const {
  const Json* value = find(name);
  return value ? value->size() : 0;
}
const Json& Keys::element(const char* name, size_t i) const {
  return find(name)->at(i);
}

Keys::Entry Keys::select(const char* name, std::string& v, const char* help) {
  if (list_) list_->selector = name;
  selected_ = v;
  const Entry entry = choice(name, v, {}, help);
  in_use_ = v;
  return entry;
}
Keys::Entry Keys::select(const char* name, const char* help) {
  std::string none;
  return select(name, none, help).required();
}
bool Keys::option(const char* name, const char* help) {
  if (list_) add_option({.name = name, .help = help, .keys = {}});
  if (list_) into_ = &list_->options.back().keys;
  return !list_ && in_use_ == name;
}
void Keys::options(const std::vector<KeyOption>& all, Json* own) {
  if (list_) {
    for (const KeyOption& option : all) add_option(option);
  } else if (own) {
    for (const auto& item : object_->items())  // in the object's order
      for (const KeyOption& option : all)
        if (find_key({}, &option, item.key())) (*own)[item.key()] = item.value();
  }
}
void Keys::add_option(KeyOption option) {
  for (Key& key : list_->keys)
    if (key.name == list_->selector) key.words.push_back(option.name);
  if (list_->options.empty()) list_->options_at = list_->keys.size();
  list_->options.push_back(std::move(option));
}

void Keys::expect(bool ok, const char* name, const char* message) const {
  if (fail_ && !ok) (*fail_)(*name ? join_path(path_, name) : path_, message);
}

}  // namespace tidepool
