// Objects in JSON as their lists of keys see them: defaults, objects laid over each other, the keys of options.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/keys.h"

namespace tidepool {

/// Adds what is missing and has a default, puts known keys into the list's order, and turns whole numbers written as
/// 1e3 into integers where integers are expected. Never throws on a wrong value: that is check_keys'.
void fill_defaults(const KeyList& list, Json& object);

/// Calls f(object, key, path) for each key in `object`, which is at `path`, that belongs to an option of `list`, and
/// for those of its inner objects whose options it names. `f` may erase the key.
using OptionKeyVisit = std::function<void(Json& object, const std::string& key, const std::string& path)>;
void each_option_key(const KeyList& list, Json& object, const std::string& path, const OptionKeyVisit& f);

/// Erases the keys of options that are not in use, here and in all inner objects.
void erase_unused_options(const KeyList& list, Json& object);

/// Lays `over` over `base`. Objects merge deep; where `over` names another option, the keys of the option in `base` go.
/// Lists are replaced.
void merge(const KeyList& list, Json& base, const Json& over);

/// Walks along a dotted path: which list or key describes the value there.
class KeyCursor {
 public:
  explicit KeyCursor(const KeyList& root) : list_(&root) {}
  /// Into the part `name` of `here`, the value at the cursor (null where there is none).
  void enter(const std::string& name, const Json& here);
  /// Of the object here; null where no list describes it.
  const KeyList* list() const { return list_; }
  /// Whether a string stands here and nothing else may.
  bool wants_text() const;

 private:
  const KeyList* list_;
  const Key* key_ = nullptr;  // of the value here; null: of the root, or unknown
  bool in_many_ = false;      // here are many of key_
  std::string in_use_;
};

/// A key with its dotted path, as documentation shows it: "optim.groups.N.lr", "model.strides.SLOT".
struct KeyRow {
  std::string path;
  const Key* key = nullptr;
  const KeyOption* option = nullptr;  ///< whose own it is; null: of all
};
/// Every key of a list and of its objects, but for objects that another page describes. `list` must outlive the rows.
std::vector<KeyRow> key_rows(const KeyList& list);

}  // namespace tidepool
