// JSON for configs, tests and the command line: comments are allowed, duplicate keys are not, errors name their place.
#pragma once
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace tidepool {

/// Keeps its keys in the order in which they were written.
using Json = nlohmann::ordered_json;

/// Where a value came from, by dotted path ("optim.groups.0.lr"): "file.json:12:5", or "--set optim.lr=1".
using Origins = std::map<std::string, std::string>;

/// Parses JSON text with // and /* */ comments. `origin` names the text in errors and in `origins` (which may be null).
/// Throws Error "origin:line:column: ..." on a syntax error, a byte that is not UTF-8 text, a NUL, a duplicate key, or
/// nesting deeper than 100.
Json parse_json(std::string_view text, std::string_view origin, Origins* origins = nullptr);

/// Parses a file, as `parse_json`. Throws Error when it does not exist or cannot be read.
Json read_json(const std::filesystem::path& file, Origins* origins = nullptr);

/// One line of JSON for an error message, cut when it is long.
std::string brief_json(const Json& value);

/// "parent.key", or "key" at the top.
std::string join_path(std::string_view parent, std::string_view key);

}  // namespace tidepool
