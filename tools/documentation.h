// What `ops` and `keys` share: how a key is shown, and tables in Markdown.
#pragma once
#include <string>
#include <vector>

#include "core/key_schema.h"

namespace tidepool {

/// The default as JSON: null when there is none, words where it depends on other keys.
Json default_json(const Key& key);
/// The same as text; "-" when there is none.
std::string shown_default(const Key& key);

std::string markdown_table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);
/// As code inside a table's cell, where a bar would end the cell.
std::string markdown_code(const std::string& text);

}  // namespace tidepool
