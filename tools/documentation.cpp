#include "tools/documentation.h"

#include <nlohmann/json.hpp>

namespace tidepool {

Json default_json(const Key& key) {
  const std::string text = default_text(key);
  if (text.empty()) return nullptr;
  const Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  return value.is_discarded() ? Json(text) : value;
}

std::string shown_default(const Key& key) {
  const std::string text = default_text(key);
  return text.empty() ? "-" : text;
}

std::string markdown_table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  const auto line = [](const std::vector<std::string>& cells) {
    return fmt::format("| {} |\n", fmt::join(cells, " | "));
  };
  std::string text = line(header) + "|";
  for (size_t i = 0; i < header.size(); ++i) text += "---|";
  text += "\n";
  for (const auto& row : rows) text += line(row);
  return text;
}

std::string markdown_code(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return fmt::format("`{}`", out);
}

}  // namespace tidepool
