#include "train/escape.h"

#include <algorithm>
#include <cctype>

namespace tidepool {

std::string escape_markdown(std::string_view text) {
  constexpr std::string_view kSpecial = "\\`*|<>&";
  const auto word = [&](size_t i) { return i < text.size() && std::isalnum(static_cast<unsigned char>(text[i])); };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n' || c == '\r') {
      out += ' ';
      continue;
    }
    // Between letters an underscore stands for itself: stretch_v stays readable in a terminal. [a, b] without a
    // target behind it is no link.
    const bool emphasis = c == '_' && !(i > 0 && word(i - 1) && word(i + 1));
    const bool link =
        c == ']' && i + 1 < text.size() && (text[i + 1] == '(' || text[i + 1] == ':' || text[i + 1] == '[');
    if (kSpecial.find(c) != std::string_view::npos || emphasis || link) out += '\\';
    out += c;
  }
  return out;
}

std::string code_markdown(std::string_view text) {
  size_t longest = 0, run = 0;  // of backticks: the span's own must be more
  std::string out;
  for (const char c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
    out += c == '\n' || c == '\r' ? ' ' : c;
  }
  const std::string ticks(longest + 1, '`'), pad = out.starts_with('`') || out.ends_with('`') ? " " : "";
  return ticks + pad + out + pad + ticks;
}

std::string escape_csv(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

std::string escape_latex(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    switch (c) {
      case '\\':
        out += "\\textbackslash{}";
        break;
      case '~':
        out += "\\textasciitilde{}";
        break;
      case '^':
        out += "\\textasciicircum{}";
        break;
      case '<':
        out += "\\textless{}";
        break;
      case '>':
        out += "\\textgreater{}";
        break;
      case '|':
        out += "\\textbar{}";
        break;
      case '"':
        out += "''";
        break;
      case '\'':
        out += "{'}";
        break;
      case '[':
        out += "{[}";
        break;  // after a line's \\ it would be an option
      case ']':
        out += "{]}";
        break;
      case '&':
      case '%':
      case '$':
      case '#':
      case '_':
      case '{':
      case '}':
        out += '\\';
        out += c;
        break;
      default:
        if (text.substr(i).starts_with(kPlusMinus)) {
          out += "$\\pm$";
          ++i;
        } else if (c == '-' && i + 1 < text.size() && text[i + 1] == '-') {
          out += "-{}";  // -- would become a dash
        } else {
          out += c;
        }
    }
  }
  return out;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace tidepool
