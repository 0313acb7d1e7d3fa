// Text that stands for itself in each format of a report.
#pragma once
#include <string>
#include <string_view>

namespace tidepool {

inline constexpr const char* kPlusMinus = "\u00b1";  ///< escape_latex writes it as \pm

std::string escape_markdown(std::string_view text);
/// A code span, in which nothing is escaped.
std::string code_markdown(std::string_view text);
std::string escape_csv(std::string_view text);
std::string escape_latex(std::string_view text);
std::string escape_html(std::string_view text);

}  // namespace tidepool
