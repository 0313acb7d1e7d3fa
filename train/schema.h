// A small JSON Schema validator whose errors are written for people.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "core/json.h"

namespace tidepool {

/// The subset of JSON Schema (draft 2020-12) that configs/schema.json uses: type, properties, required,
/// additionalProperties, enum, const, minimum, exclusiveMinimum, maximum, exclusiveMaximum, items, minItems, maxItems,
/// default, $ref into $defs, and oneOf whose branches are told apart by the const of their "type". `description` and
/// `examples` are for editors, and so is `allOf` with if/then: it describes operators, which their registry checks.
class Schema {
 public:
  /// Throws Error when the text is no JSON, uses a keyword outside the subset, refers to what is not there, or leaves
  /// an integer without a minimum and a maximum.
  Schema(std::string_view text, std::string_view origin);

  /// Adds what is missing and has a default, puts known keys into the schema's order, and turns whole numbers written
  /// as 1e3 into integers where the schema wants integers. Never throws on a wrong value: that is `validate`'s.
  void fill_defaults(Json& value) const;

  /// Throws Error "place: path: what was expected, what came (did you mean ...?)" on the first thing that is wrong.
  void validate(const Json& value, const Origins& origins) const;

  /// True when the value at a dotted path is a string and nothing else, so that `--set name=5` means "5".
  bool wants_string(std::string_view path, const Json& value) const;

 private:
  std::shared_ptr<const Json> root_;
};

/// The origin of a path, or of its nearest ancestor that has one, with ": " behind it; "" when none is known.
std::string origin_of(const Origins& origins, std::string path);

}  // namespace tidepool
