// Lists of keys as JSON Schema, for editors.
#pragma once
#include <string>

#include "core/keys.h"

namespace tidepool {

/// JSON Schema (draft 2020-12) of an object with these keys, and of one key's value. Where options stand beside keys
/// of all objects, the keys of all options are allowed: throws Failure when two options have one of a name with other
/// types or limits.
Json schema_of(const KeyList& list);
Json schema_of(const Key& key);

/// JSON with two spaces of indentation, in which what fits into a line stands in one.
std::string pretty_json(const Json& json);

}  // namespace tidepool
