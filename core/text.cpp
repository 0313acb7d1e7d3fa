#include "core/text.h"

#include <cstdint>

#include "core/error.h"

namespace tidepool {
namespace {

// Bytes of the character at the beginning of `text`; 0 when it is none.
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  const size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  // What a shorter form has, surrogates, and what lies beyond U+10FFFF.
  const uint8_t second = byte(1);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) || (first == 0xF0 && second < 0x90) ||
      (first == 0xF4 && second > 0x8F))
    return 0;
  return length;
}

}  // namespace

std::optional<size_t> first_bad_byte(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = text[at] == '\0' ? 0 : character_length(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::nullopt;
}

std::string printable(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t length = character_length(text.substr(at));
    const auto first = static_cast<uint8_t>(text[at]);
    if (length == 0 || first < 0x20 || first == 0x7F)
      out += fmt::format("\\x{:02X}", first);
    else
      out += text.substr(at, length);
    at += length == 0 ? 1 : length;
  }
  return out;
}

void expect_text(std::string_view text, std::string_view what) {
  if (first_bad_byte(text)) throw Error("{}: expected UTF-8 text, got '{}'", what, printable(text));
}

}  // namespace tidepool
