// Text that comes from outside: what is UTF-8, and how anything else is shown.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace tidepool {

/// Where the first byte stands that is NUL or no part of UTF-8 (RFC 3629); none when all is text.
std::optional<size_t> first_bad_byte(std::string_view text);

/// For messages: bytes outside UTF-8 and control characters as \xHH, everything else as it is.
std::string printable(std::string_view text);

/// Throws Error "what: expected UTF-8 text, got ..." when `text` has a NUL or is not UTF-8.
void expect_text(std::string_view text, std::string_view what);

}  // namespace tidepool
