// Keys of an object in JSON: an operator's, or those of a section of a config. A struct lists each of its keys once,
// beside its member. From that list follow the reader, checks and their errors, defaults (key_values.h), schemas and
// documentation (key_schema.h).
//
//   struct Options {
//     double beta = 1;
//     void keys(Keys& k) { k.number("beta", beta, "Temperature.").at_least(0); }
//   };
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/json.h"

namespace tidepool {

struct Key;
struct KeyOption;

/// The keys of one object.
struct KeyList {
  std::vector<Key> keys;
  /// Registered things of which one is in use (optimizers, variants), each with keys of its own.
  std::vector<KeyOption> options;
  /// The key among `keys` that names the option in use; "": there are no options, or an object around names it.
  std::string selector;
  size_t options_at = 0;  ///< where the keys of the option in use stand among `keys`
};

struct Key {
  enum class Kind { boolean, integer, number, text, word, object };
  enum class Many { one, per_axis, list, map };  ///< a map: objects of any names, {"stage3": 1}

  std::string name;
  std::string help;  ///< a sentence or two
  Kind kind = Kind::text;
  Many many = Many::one;
  bool null = false;  ///< null is a value too, of each element where there are many
  bool required = false;
  std::string default_value;        ///< as JSON text; "": none is filled in
  std::string default_words;        ///< what holds without the key where that depends on others: "kernel"
  std::vector<std::string> words;   ///< Kind::word: the values; Kind::object: words that may stand in its stead
  long double least = 0, most = 0;  ///< Kind::integer, Kind::number
  bool above_least = false, below_most = false;  ///< the limit itself is out of range
  size_t fewest = 0, longest = SIZE_MAX;         ///< Many::per_axis, Many::list: how many
  KeyList object;                                ///< Kind::object
  bool as_written = false;                       ///< Kind::object: defaults are not filled in
  bool decides_weights = true;                   ///< two runs that differ in it alone may differ in their weights
  std::string schema_file = {};                  ///< Kind::object: the schema that describes it in place of this one
  std::string page = {};                         ///< Kind::object: the page of docs/ that describes it
};

/// One registered thing of which a config names one.
struct KeyOption {
  std::string name;
  std::string help;  ///< one sentence
  std::vector<Key> keys;
};

/// Called with the dotted path of a key ("" is the whole object) and what is wrong with it; throws Error.
using KeyFail = std::function<void(const std::string& path, const std::string& message)>;

/// "integer or one per axis >= 1, <= 1048576", "number >= 0 or null", "\"max\" or \"avg\"".
std::string type_text(const Key& key);
/// "boolean", "integer", "number", "string", "object": JSON's names.
const char* kind_name(Key::Kind kind);
/// The default as JSON text, or in words where it depends on other keys; "" when there is none.
std::string default_text(const Key& key);
/// Whether a limit is stated; the ends of a type itself are not.
bool has_least(const Key& key);
bool has_most(const Key& key);
/// "0.5", "2147483647", as limits are shown.
std::string number_text(long double v);

/// Calls `fail` for the first thing in an object that its keys do not allow: "expected integer >= 1, got 0".
void check_keys(const KeyList& list, const Json& object, const KeyFail& fail);

/// Of the options of a list, the one with that name; null when there is none.
const KeyOption* find_option(const KeyList& list, std::string_view name);
/// The name of the option that an object has in use: its selector's value or default, or `around` where an object
/// around it names the option.
std::string option_in_use(const KeyList& list, const Json& object, const std::string& around);
/// Among the keys of all objects of a list and, when it is given, those of one option; null when there is none.
const Key* find_key(const KeyList& list, const KeyOption* option, std::string_view name);

/// A key's value that is one number for all axes or a number for each. POD: options travel in a tape's closures.
template <class T>
struct PerAxis {
  std::array<T, 3> values{};
  int count = 0;  ///< 1: for all axes; 2, 3: one each; 0: not given

  static PerAxis all(T v) { return {{v}, 1}; }
  T operator[](int axis) const { return values[static_cast<size_t>(count == 1 ? 0 : axis)]; }
  /// Throws Error when it lists another number of axes than a map has.
  void expect_axes(const char* op, const char* key, int rank) const {
    if (count > 1 && count != rank)
      throw Error("[{}] key '{}' lists {} numbers, but the map has {} {}", op, key, count, rank,
                  rank == 1 ? "axis" : "axes");
  }
};

/// Visits the keys of one object: describes them, or reads their members from an object that check_keys has passed.
class Keys {
 public:
  /// What else holds of the key that was named last.
  class Entry {
   public:
    // Limits of the number, or of each where there are many.
    const Entry& at_least(long double low) const;
    const Entry& at_most(long double high) const;
    const Entry& above(long double low) const;
    const Entry& below(long double high) const;
    /// No default is filled in; without the key holds what the words say ("kernel").
    const Entry& otherwise(const char* words) const;
    /// A default other than the member's value.
    const Entry& by_default(const char* json) const;
    const Entry& required() const;
    /// null too: a text is then empty.
    const Entry& or_null() const;
    /// As many, where there is one per axis.
    const Entry& axes(size_t count) const;
    /// Or one of these words in place of the object.
    const Entry& or_word(std::vector<std::string> words) const;
    const Entry& as_written() const;
    const Entry& decides_no_weights() const;
    const Entry& described_in(const char* schema_file, const char* page) const;

   private:
    friend class Keys;
    explicit Entry(Key* key) : key_(key) {}
    Key* key_;  // null while reading
  };

  /// Describes: appends each key to `list`, with its member's value as the default.
  explicit Keys(KeyList& list) : list_(&list), into_(&list.keys) {}
  /// Reads. `path` is the object's own, for errors; absent keys leave their members as they are.
  Keys(const Json& object, const KeyFail& fail, std::string path = {})
      : object_(&object), fail_(&fail), path_(std::move(path)) {}
  /// Reads, and does not mind what is expected.
  explicit Keys(const Json& object) : object_(&object) {}

  Entry flag(const char* name, bool& v, const char* help);
  Entry integer(const char* name, int64_t& v, const char* help);
  Entry integer(const char* name, uint64_t& v, const char* help);
  Entry integer(const char* name, std::optional<int64_t>& v, const char* help);  ///< none: null
  Entry integers(const char* name, PerAxis<int64_t>& v, const char* help);
  Entry number(const char* name, double& v, const char* help);
  Entry number(const char* name, std::optional<double>& v, const char* help);  ///< none: null
  Entry numbers(const char* name, PerAxis<double>& v, const char* help);
  /// A list of as many as there are.
  Entry numbers(const char* name, std::span<double> v, const char* help);
  /// A list of any length, at least one.
  Entry list(const char* name, std::vector<int64_t>& v, const char* help);
  Entry list(const char* name, std::vector<double>& v, const char* help);
  Entry map(const char* name, std::map<std::string, int64_t>& v, const char* help);
  Entry text(const char* name, std::string& v, const char* help);
  /// A text that is read elsewhere.
  Entry text(const char* name, const char* help);
  /// One of the words; the value is an enumeration in their order, or the word.
  template <class E>
  requires std::is_enum_v<E> || std::is_same_v<E, bool> Entry choice(const char* name, E& v,
                                                                     std::initializer_list<const char*> words,
                                                                     const char* help) {
    int index = static_cast<int>(v);
    const Entry entry = choose(name, index, words, help);
    v = static_cast<E>(index);
    return entry;
  }
  Entry choice(const char* name, std::string& v, std::vector<std::string> words, const char* help);

  /// An object of its own, whose keys S lists.
  template <class S>
  Entry section(const char* name, S& v, const char* help) {
    if (list_) return described_object(name, help, [&](Keys& keys) { v.keys(keys); });
    if (const Json* value = find(name)) read_object(*value, name, [&](Keys& keys) { v.keys(keys); });
    return Entry(nullptr);
  }
  /// A list of objects; each begins as a copy of `prototype`.
  template <class S>
  Entry sections(const char* name, std::vector<S>& v, const S& prototype, const char* help) {
    if (list_) {
      S one = prototype;
      return described_objects(name, help, [&](Keys& keys) { one.keys(keys); });
    }
    v.clear();
    for (size_t i = 0; i < length(name); ++i) {
      v.push_back(prototype);
      read_object(element(name, i), fmt::format("{}.{}", name, i), [&](Keys& keys) { v.back().keys(keys); });
    }
    return Entry(nullptr);
  }
  /// An object that S describes, kept as it is.
  template <class S>
  Entry json(const char* name, Json& v, const char* help) {
    if (list_) return described_json(name, v, help, [](Keys& keys) { S{}.keys(keys); });
    read_json(name, v);
    return Entry(nullptr);
  }
  /// The same for a map of such objects.
  template <class S>
  Entry json_map(const char* name, Json& v, const char* help) {
    if (list_) return described_json_map(name, v, help, [](Keys& keys) { S{}.keys(keys); });
    read_json(name, v);
    return Entry(nullptr);
  }

  /// The key that names the option in use; required where there is no member. The options follow.
  Entry select(const char* name, std::string& v, const char* help);
  Entry select(const char* name, const char* help);
  /// An option: the keys that follow are its own. True while an object is read in which it is in use.
  bool option(const char* name, const char* help);
  /// Options that were registered, after which keys of all objects follow again. `own` gets the values of their keys.
  /// Without a `select` before it, an object around this one names the option.
  void options(const std::vector<KeyOption>& all, Json* own = nullptr);

  /// Fails, while an object is read, when its keys contradict each other.
  void expect(bool ok, const char* message) const { expect(ok, "", message); }
  /// The same, naming the key to blame.
  void expect(bool ok, const char* name, const char* message) const;

 private:
  using Visit = std::function<void(Keys&)>;

  Key* describe(const char* name, Key::Kind kind, const char* help);
  void add_option(KeyOption option);
  Entry described_object(const char* name, const char* help, const Visit& visit);
  Entry described_objects(const char* name, const char* help, const Visit& visit);
  Entry described_json(const char* name, const Json& v, const char* help, const Visit& visit);
  Entry described_json_map(const char* name, const Json& v, const char* help, const Visit& visit);
  const Json* find(const char* name) const;  // the value, or null
  void read_object(const Json& value, const std::string& name, const Visit& visit) const;
  void read_json(const char* name, Json& v) const;
  size_t length(const char* name) const;
  const Json& element(const char* name, size_t i) const;
  Entry choose(const char* name, int& v, std::initializer_list<const char*> words, const char* help);
  template <class T>
  Entry value(const char* name, Key::Kind kind, Key::Many many, T&& v, const char* help);

  KeyList* list_ = nullptr;
  std::vector<Key>* into_ = nullptr;  // the keys of `list_`, or of its last option
  const Json* object_ = nullptr;
  const KeyFail* fail_ = nullptr;  // null: nothing is expected
  std::string path_;
  std::string selected_;  // the member's option, before an object was read
  std::string in_use_;    // the option of the object
};

/// The keys that a struct lists. Throws Failure when it lists one twice.
void expect_each_once(const KeyList& list);
template <class Options>
KeyList list_keys() {
  KeyList list;
  Keys keys(list);
  Options options;
  options.keys(keys);
  expect_each_once(list);
  return list;
}

/// Checks an object against the keys of Options and reads it.
template <class Options>
Options read_keys(const Json& object, const KeyFail& fail) {
  static const KeyList list = list_keys<Options>();
  check_keys(list, object, fail);
  Options options;
  Keys keys(object, fail);
  options.keys(keys);
  return options;
}

}  // namespace tidepool
