#include "train/table_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "train/embedded.h"
#include "train/optimizer.h"
#include "train/origins.h"

namespace tidepool {

extern const EmbeddedFile kEmbeddedTables[];
extern const size_t kEmbeddedTables_count;

namespace fs = std::filesystem;

namespace {

const std::string kScalesFile = "scales.json";

// A value in a file, which knows where it stands. Every reader fails with place, path, what was expected and what came.
class Node {
 public:
  Node(const Json& value, const Origins& origins, std::string path = {})
      : value_(&value), origins_(&origins), path_(std::move(path)) {}

  [[noreturn]] void fail(const std::string& message) const {
    throw Error("{}{}{}", origin_of(*origins_, path_), path_.empty() ? "" : path_ + ": ", message);
  }
  const Json& json() const { return *value_; }
  const std::string& path() const { return path_; }
  /// "file:line:column"
  std::string origin() const {
    const std::string place = origin_of(*origins_, path_);
    return place.substr(0, place.size() - 2);
  }

  /// An object with no other keys than these.
  const Node& expect_object(std::initializer_list<const char*> keys = {}) const {
    if (!value_->is_object()) fail(fmt::format("expected an object, got {}", brief_json(*value_)));
    const std::vector<std::string> known(keys.begin(), keys.end());
    for (const auto& item : value_->items())
      if (!known.empty() && std::find(known.begin(), known.end(), item.key()) == known.end())
        at(item.key())
            .fail(fmt::format("unknown key; known: {}{}", fmt::join(known, ", "), did_you_mean(item.key(), known)));
    return *this;
  }
  bool has(const char* key) const { return value_->contains(key); }
  Node at(const std::string& key) const { return {value_->at(key), *origins_, join_path(path_, key)}; }
  Node required(const char* key) const {
    if (!has(key)) fail(fmt::format("needs a key '{}'", key));
    return at(key);
  }

  std::string text() const {
    if (!value_->is_string() || value_->get_ref<const std::string&>().empty())
      fail(fmt::format("expected a text, got {}", brief_json(*value_)));
    return value_->get<std::string>();
  }
  std::string text_or(const char* key) const { return has(key) ? at(key).text() : std::string(); }
  int64_t integer(int64_t least, int64_t most) const {
    if (!value_->is_number_integer() || value_->get<int64_t>() < least || value_->get<int64_t>() > most)
      fail(fmt::format("expected an integer from {} to {}, got {}", least, most, brief_json(*value_)));
    return value_->get<int64_t>();
  }
  std::vector<Node> list() const {
    if (!value_->is_array()) fail(fmt::format("expected a list, got {}", brief_json(*value_)));
    std::vector<Node> nodes;
    for (size_t i = 0; i < value_->size(); ++i)
      nodes.emplace_back((*value_)[i], *origins_, join_path(path_, std::to_string(i)));
    return nodes;
  }
  /// The values of an object, each with its key.
  std::vector<std::pair<std::string, Node>> items() const {
    expect_object();
    std::vector<std::pair<std::string, Node>> all;
    for (const auto& item : value_->items()) all.emplace_back(item.key(), at(item.key()));
    return all;
  }

 private:
  const Json* value_;
  const Origins* origins_;
  std::string path_;
};

std::vector<Setting> read_settings(const Node& node) {
  std::vector<Setting> settings;
  for (const auto& [key, value] : node.items())
    if (key != "extends") settings.push_back({.key = key, .value = value.json(), .origin = value.origin()});
  return settings;
}

void expect_label(const Node& node, const std::string& label) {
  const bool odd = std::any_of(label.begin(), label.end(), [](char c) {
    return c == '/' || c == ',' || c == '*' || c == '?' || static_cast<unsigned char>(c) <= ' ';
  });
  if (label.empty() || label.starts_with('.') || odd)
    node.fail(fmt::format("expected a name that a folder can have, without spaces, commas, * and ?, got {}",
                          brief_json(label)));
}

// Throws Error for a setting that a table makes itself.
void expect_free(std::span<const Setting> settings) {
  for (const Setting& setting : settings)
    for (const char* own : {"name", "train.seed"})
      if (setting.key == own)
        throw Error("{}: {}: a table gives each run its name and its seed", setting.origin, setting.key);
}

std::vector<TableEntry> read_entries(const Node& node) {
  std::vector<TableEntry> entries;
  for (const auto& [label, value] : node.items()) {
    expect_label(value, label);
    value.expect_object();
    TableEntry entry{.label = label,
                     .origin = value.origin(),
                     .base = value.text_or("extends"),
                     .base_origin = {},
                     .settings = read_settings(value)};
    if (!entry.base.empty()) entry.base_origin = value.at("extends").origin();
    expect_free(entry.settings);
    entries.push_back(std::move(entry));
  }
  if (entries.empty()) node.fail("expected at least one row, got {}");
  return entries;
}

void read_grid(const Node& node, TableFile& table) {
  std::vector<std::string> names;
  for (const Node& one : node.list()) {
    one.expect_object({"column", "rows"});
    const Node name = one.required("column");
    GridColumn column{.name = name.text(), .entries = read_entries(one.required("rows"))};
    if (std::find(names.begin(), names.end(), column.name) != names.end())
      name.fail(fmt::format("the grid has a column '{}' already", column.name));
    names.push_back(column.name);
    table.grid.push_back(std::move(column));
  }
  if (table.grid.empty()) node.fail("expected at least one column, got []");
}

std::vector<std::string> labels_of(const std::vector<TableEntry>& entries) {
  std::vector<std::string> labels;
  for (const TableEntry& entry : entries) labels.push_back(entry.label);
  return labels;
}

void read_baseline(const Node& node, TableFile& table) {
  if (!table.grid.empty()) {
    std::vector<std::string> columns;
    for (const GridColumn& column : table.grid) columns.push_back(column.name);
    for (const auto& [name, label] : node.items()) {
      const auto column = std::find(columns.begin(), columns.end(), name);
      if (column == columns.end())
        label.fail(fmt::format("the grid has no such column; it has {}{}", fmt::join(columns, ", "),
                               did_you_mean(name, columns)));
      const auto labels = labels_of(table.grid[static_cast<size_t>(column - columns.begin())].entries);
      const std::string text = label.text();
      if (std::find(labels.begin(), labels.end(), text) == labels.end())
        label.fail(fmt::format("names no row: the column {} has {}, got '{}'{}", name, fmt::join(labels, ", "), text,
                               did_you_mean(text, labels)));
      table.baseline.emplace_back(name, text);
    }
    return;
  }
  const auto labels = labels_of(table.rows);
  const auto add = [&](const std::string& pattern, const Node& name) {
    const std::string row = name.text();
    if (std::find(labels.begin(), labels.end(), row) == labels.end())
      name.fail(fmt::format("names no row; there are {}; got '{}'{}", fmt::join(labels, ", "), row,
                            did_you_mean(row, labels)));
    if (std::none_of(labels.begin(), labels.end(), [&](const std::string& l) { return matches_any(pattern, l); }))
      name.fail(fmt::format("the pattern '{}' matches no row; there are {}", pattern, fmt::join(labels, ", ")));
    table.baseline.emplace_back(pattern, row);
  };
  if (node.json().is_object())
    for (const auto& [pattern, name] : node.items()) add(pattern, name);
  else
    add("*", node);
}

void read_table_scales(const Node& node, TableFile& table) {
  std::vector<std::string> names;
  for (const Scale& scale : scales()) names.push_back(scale.name);
  for (const auto& [name, one] : node.items()) {
    if (std::find(names.begin(), names.end(), name) == names.end())
      one.fail(fmt::format("unknown scale: expected one of {}{}", fmt::join(names, ", "), did_you_mean(name, names)));
    one.expect_object({"only", "except", "settings"});
    if (one.has("settings") && one.at("settings").has("extends"))
      one.at("settings").at("extends").fail("a scale has settings alone; a row may extend a config");
    table.scales[name] = {.only = one.text_or("only"),
                          .except = one.text_or("except"),
                          .settings = one.has("settings") ? read_settings(one.at("settings")) : std::vector<Setting>()};
    expect_free(table.scales[name].settings);
  }
}

void read_published(const Node& node, TableFile& table) {
  for (const Node& one : node.list()) {
    one.expect_object({"rows", "value", "what", "source"});
    const Node value = one.required("value");
    if (!value.json().is_number()) value.fail(fmt::format("expected a number, got {}", brief_json(value.json())));
    table.published.push_back({.rows = one.text_or("rows"),
                               .value = fmt::format("{:.2f}", value.json().get<double>()),
                               .what = one.required("what").text(),
                               .source = one.required("source").text()});
  }
}

TableFile read_table(const Json& json, Origins origins, const std::string& file,
                     const std::optional<fs::path>& folder) {
  TableFile table;
  table.file = file;
  table.folder = folder;
  table.name = fs::path(file).stem().string();
  origins.emplace("", file);
  table.origins = std::move(origins);
  const Node root(json, table.origins);
  root.expect_object(
      {"$schema", "title", "base", "grid", "rows", "baseline", "scales", "columns", "caption", "published"});
  table.title = root.required("title").text();
  table.base = root.required("base").text();
  table.caption = root.text_or("caption");
  if (root.has("grid") == root.has("rows"))
    root.fail(root.has("grid") ? "expected 'grid' or 'rows', got both" : "needs a key 'grid', or 'rows'");
  if (root.has("grid"))
    read_grid(root.at("grid"), table);
  else
    table.rows = read_entries(root.at("rows"));
  if (root.has("baseline")) read_baseline(root.at("baseline"), table);
  if (root.has("scales")) read_table_scales(root.at("scales"), table);
  if (root.has("columns"))
    for (const Node& column : root.at("columns").list()) table.columns.push_back(column.text());
  if (root.has("published")) read_published(root.at("published"), table);
  return table;
}

const EmbeddedFile* embedded_table(const std::string& name) {
  for (size_t i = 0; i < kEmbeddedTables_count; ++i)
    if (name == kEmbeddedTables[i].name) return &kEmbeddedTables[i];
  return nullptr;
}

bool is_file(const fs::path& path) {
  std::error_code code;
  return fs::is_regular_file(path, code);
}

// The file of configs/tables/ with that name: on disk, else in the program; none where there is no such file.
struct ShippedText {
  std::string origin;
  std::optional<fs::path> folder;
  Json json;
  Origins origins;
};
std::optional<ShippedText> shipped_file(const std::string& name) {
  ShippedText text;
  for (const fs::path& folder : config_folders())
    if (const fs::path file = folder / "tables" / name; is_file(file)) {
      text.origin = file.string();
      text.folder = folder;
      text.json = read_json(file, &text.origins);
      return text;
    }
  if (const EmbeddedFile* file = embedded_table(name)) {
    text.origin = "(program)/tables/" + name;
    text.json = parse_json({reinterpret_cast<const char*>(file->bytes), file->size}, text.origin, &text.origins);
    return text;
  }
  return std::nullopt;
}

std::vector<Scale> read_scales() {
  auto text = shipped_file(kScalesFile);
  text->origins.emplace("", text->origin);
  std::vector<Scale> all;
  for (const auto& [name, one] : Node(text->json, text->origins).items()) {
    one.expect_object({"for", "seeds", "settings"});
    all.push_back({.name = name,
                   .purpose = one.required("for").text(),
                   .seeds = one.required("seeds").integer(1, 10000),
                   .settings = read_settings(one.required("settings"))});
  }
  return all;
}

}  // namespace

const std::vector<Scale>& scales() {
  static const std::vector<Scale> all = read_scales();
  return all;
}

const Scale& find_scale(const std::string& name) {
  std::vector<std::string> names;
  for (const Scale& scale : scales()) {
    if (scale.name == name) return scale;
    names.push_back(scale.name);
  }
  throw Error("unknown scale '{}': expected one of {}{}", name, fmt::join(names, ", "), did_you_mean(name, names));
}

std::string TableFile::stem() const {
  const bool number = std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
  return number ? "table" + name : name;
}

std::string TableFile::place(const std::string& path) const {
  return origin_of(origins, path);
}

TableFile load_table(const std::string& name) {
  const fs::path path = name;
  if (path.has_parent_path() || (name.ends_with(".json") && is_file(path))) {
    Origins origins;
    const Json json = read_json(path, &origins);
    return read_table(json, std::move(origins), path.string(), path.has_parent_path() ? path.parent_path() : ".");
  }
  const std::string file = name.ends_with(".json") ? name : name + ".json";
  if (file != kScalesFile)
    if (auto text = shipped_file(file))
      return read_table(text->json, std::move(text->origins), text->origin, text->folder);
  const std::vector<std::string> names = table_names();
  if (name.ends_with(".json"))
    throw Error("{}: no such file, and no table of that name{}", name, did_you_mean(name, names));
  throw Error("there is no table {}; there is: {}, or the path of a file{}", name, fmt::join(names, ", "),
              did_you_mean(name, names));
}

TableFile load_table_text(const std::string& text, const std::string& origin, const std::optional<fs::path>& folder) {
  Origins origins;
  const Json json = parse_json(text, origin, &origins);
  return read_table(json, std::move(origins), origin, folder);
}

std::vector<std::string> table_names() {
  std::set<std::string> files;
  for (size_t i = 0; i < kEmbeddedTables_count; ++i) files.insert(kEmbeddedTables[i].name);
  for (const fs::path& folder : config_folders()) {
    std::error_code code;
    for (const auto& entry : fs::directory_iterator(folder / "tables", code))
      if (entry.path().extension() == ".json") files.insert(entry.path().filename().string());
  }
  files.erase(kScalesFile);
  std::vector<std::string> names;
  for (const std::string& file : files) names.push_back(fs::path(file).stem().string());
  return names;
}

bool matches_any(const std::string& patterns, const std::string& name) {
  for (size_t begin = 0; begin <= patterns.size();) {
    const size_t end = std::min(patterns.find(',', begin), patterns.size());
    size_t first = begin;
    while (first < end && patterns[first] == ' ') ++first;
    if (first < end && glob_match(patterns.substr(first, end - first), name)) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace tidepool
