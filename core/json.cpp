#include "core/json.h"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/text.h"

namespace tidepool {
namespace {

constexpr size_t kMaxDepth = 100;  // deeper text is no config, and later passes recurse

// Reads the text for nlohmann's lexer and knows how far it has come, which the lexer does not tell a SAX handler.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    if (furthest_ != nullptr) *furthest_ = at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator old = *this;
    ++*this;
    return old;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** furthest_;
};

class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view text, std::string_view origin, Origins* origins)
      : at(text.data()), text_(text), origin_(origin), origins_(origins), bad_byte_(first_bad_byte(text)) {}

  // The text before the first byte that is no text: the lexer takes a NUL for the end, and shows others as they are.
  std::string_view readable() const { return text_.substr(0, bad_byte_.value_or(text_.size())); }
  void finish() const {
    if (bad_byte_) refuse_byte(*bad_byte_);
  }

  const char* at;  // one past the last character that the lexer took
  Json root;

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override {
    if (value.find('\0') != std::string::npos) refuse_nul(static_cast<size_t>(at - text_.data()) - 1, path_of_next());
    return add(std::move(value));
  }
  bool binary(binary_t&) override { return false; }  // never comes from text
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const size_t end = static_cast<size_t>(at - text_.data());  // just after the closing quote
    size_t start = end - 2;
    while (start > 0 && !(text_[start] == '"' && !escaped(start))) --start;
    if (name.find('\0') != std::string::npos) refuse_nul(start, stack_.back().path);
    if (stack_.back().value->contains(name)) {
      throw Error("{}: {}: this key is given twice in one object", place(start), join_path(stack_.back().path, name));
    }
    key_ = name;
    value_due_ = true;
    if (origins_ != nullptr) (*origins_)[join_path(stack_.back().path, name)] = place(start);
    return true;
  }

  // The byte at `offset` is no text; what stands before it has been read.
  [[noreturn]] void refuse_byte(size_t offset) const {
    std::string key = value_due_ || (!stack_.empty() && stack_.back().value->is_array()) ? path_of_next()
                      : stack_.empty()                                                   ? ""
                                                                                         : stack_.back().path;
    if (!key.empty()) key = ": " + key;
    throw Error("{}{}: expected UTF-8 text, got the byte 0x{:02X}", place(offset), key,
                static_cast<unsigned char>(text_[offset]));
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: syntax error ...": we say the place our way.
    if (bad_byte_ && at == text_.data() + *bad_byte_) refuse_byte(*bad_byte_);
    const std::string what = error.what();
    std::string message = what;
    if (const size_t bracket = message.find("] "); bracket != std::string::npos) message.erase(0, bracket + 2);
    if (const size_t column = message.find(", column "); column != std::string::npos) {
      if (const size_t colon = message.find(": ", column); colon != std::string::npos) message.erase(0, colon + 2);
    }
    const size_t end = static_cast<size_t>(at - text_.data());
    throw Error("{}: {}", place(end == 0 ? 0 : end - 1), message);
  }

 private:
  // Names and paths go to the system, which takes a NUL for their end.
  [[noreturn]] void refuse_nul(size_t offset, const std::string& path) const {
    throw Error("{}{}{}: a string must not have the character \\u0000 in it", place(offset), path.empty() ? "" : ": ",
                path);
  }

  struct Level {
    Json* value;
    std::string path;
  };

  bool escaped(size_t i) const {
    size_t slashes = 0;
    while (i > slashes && text_[i - slashes - 1] == '\\') ++slashes;
    return slashes % 2 == 1;
  }

  std::string place(size_t offset) const {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < offset && i < text_.size(); ++i) {
      if (text_[i] == '\n') {
        ++line;
        column = 1;
      } else {
        ++column;
      }
    }
    return fmt::format("{}:{}:{}", origin_, line, column);
  }

  Json* put(Json value) {
    value_due_ = false;
    if (stack_.empty()) {
      root = std::move(value);
      return &root;
    }
    Json& parent = *stack_.back().value;
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }

  std::string path_of_next() const {
    if (stack_.empty()) return "";
    const Level& top = stack_.back();
    return join_path(top.path, top.value->is_array() ? std::to_string(top.value->size()) : key_);
  }

  template <class T>
  bool add(T&& value) {
    put(Json(std::forward<T>(value)));
    return true;
  }

  bool open(Json value) {
    if (stack_.size() >= kMaxDepth) {
      throw Error("{}: nested deeper than {}", place(static_cast<size_t>(at - text_.data()) - 1), kMaxDepth);
    }
    std::string path = path_of_next();
    Json* opened = put(std::move(value));  // stays where it is: its parent grows only after it is closed
    stack_.push_back({opened, std::move(path)});
    return true;
  }

  bool close() {
    stack_.pop_back();
    return true;
  }

  std::string_view text_;
  std::string_view origin_;
  Origins* origins_;
  std::optional<size_t> bad_byte_;
  std::vector<Level> stack_;
  std::string key_;
  bool value_due_ = false;  // of key_
};

}  // namespace

Json parse_json(std::string_view text, std::string_view origin, Origins* origins) {
  Builder builder(text, origin, origins);
  const char* end = text.data() + builder.readable().size();
  Json::sax_parse(CountingIterator(text.data(), &builder.at), CountingIterator(end, nullptr), &builder,
                  nlohmann::detail::input_format_t::json, /*strict=*/true, /*ignore_comments=*/true);
  builder.finish();
  return std::move(builder.root);
}

Json read_json(const std::filesystem::path& file, Origins* origins) {
  std::error_code code;
  if (!std::filesystem::exists(file, code)) throw Error("{}: no such file", file.string());
  if (std::filesystem::is_directory(file, code)) throw Error("{}: is a folder, not a JSON file", file.string());
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error("{}: cannot be read: {}", file.string(), std::strerror(errno));
  std::ostringstream text;
  text << in.rdbuf();
  if (in.bad()) throw Error("{}: cannot be read: {}", file.string(), std::strerror(errno));
  return parse_json(text.str(), file.string(), origins);
}

std::string brief_json(const Json& value) {
  constexpr size_t kLongest = 60;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  if (text.size() <= kLongest) return text;
  size_t cut = kLongest;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0U) == 0x80U) --cut;  // not inside a UTF-8 character
  return text.substr(0, cut) + "...";
}

std::string join_path(std::string_view parent, std::string_view key) {
  if (parent.empty()) return std::string(key);
  return fmt::format("{}.{}", parent, key);
}

}  // namespace tidepool
