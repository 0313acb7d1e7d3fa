// tidepool keys: every key of a config, from the lists that the program reads configs with.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/key_values.h"
#include "tools/command.h"
#include "tools/documentation.h"
#include "train/config.h"
#include "train/escape.h"

namespace tidepool {
namespace {

// What holds for `"type": "tile"` alone has the option's name behind it.
std::string named(const KeyRow& row) {
  return row.option ? fmt::format("{} ({})", row.path, row.option->name) : row.path;
}

std::string help_of(const Key& key) {
  return key.page.empty() ? key.help : fmt::format("{} The operators and their keys: {}.", key.help, key.page);
}

Json describe(const KeyRow& row) {
  Json one{{"key", row.path}};
  if (row.option) one["option"] = row.option->name;
  one["type"] = type_text(*row.key);
  one["default"] = default_json(*row.key);
  one["decides_weights"] = row.key->decides_weights;
  one["help"] = help_of(*row.key);
  return one;
}

std::string list_as_text(const std::vector<KeyRow>& rows) {
  std::vector<std::vector<std::string>> cells;
  for (const KeyRow& row : rows)
    if (row.key->kind != Key::Kind::object || !row.key->page.empty() || !row.key->words.empty())
      cells.push_back({named(row), type_text(*row.key), shown_default(*row.key)});
  return text_table({"key", "type", "default"}, cells, {.minor = {"default"}}) +
         "\n`tidepool keys KEY` says what a key means, and what is below it.\n";
}

// An object and what is below it, or one key.
std::string part_as_text(const std::vector<KeyRow>& rows) {
  std::string text;
  for (const KeyRow& row : rows) {
    text += fmt::format("{}{}\n  {}\n  default: {}\n  {}\n", text.empty() ? "" : "\n", named(row), type_text(*row.key),
                        shown_default(*row.key), help_of(*row.key));
    for (const KeyOption& option : row.key->object.options)
      if (row.key->page.empty() && !option.help.empty()) text += fmt::format("    {}: {}\n", option.name, option.help);
  }
  return text;
}

std::vector<std::string> cells_of(const Key& key) {
  const bool none = default_text(key).empty();
  return {markdown_code(key.name), escape_markdown(type_text(key)),
          none ? std::string("-") : markdown_code(default_text(key)), escape_markdown(help_of(key))};
}

std::string table_of(const std::vector<Key>& keys) {
  std::vector<std::vector<std::string>> rows;
  for (const Key& key : keys) rows.push_back(cells_of(key));
  return rows.empty() ? "" : "\n" + markdown_table({"key", "type", "default", "meaning"}, rows);
}

// `around`: the options are those of the object around, which describes them.
void write_section(const KeyList& list, const std::string& path, const std::string& help, std::string& text) {
  if (!path.empty()) text += fmt::format("\n## `{}`\n\n{}\n", path, escape_markdown(help));
  text += table_of(list.keys);
  for (const KeyOption& option : list.options) {
    if (list.selector.empty()) continue;
    text += fmt::format("\nWith `\"{}\": \"{}\"`{}\n", list.selector, option.name,
                        option.help.empty() ? "" : ": " + escape_markdown(option.help));
    text += table_of(option.keys);
  }
  if (list.selector.empty() && !list.options.empty()) text += "\nBeside these, the keys of the optimizer in use.\n";
  for (const Key& key : list.keys) {
    if (key.kind != Key::Kind::object || !key.page.empty()) continue;
    const char* many = key.many == Key::Many::list ? ".N" : key.many == Key::Many::map ? ".NAME" : "";
    write_section(key.object, join_path(path, key.name) + many, key.help, text);
  }
}

std::string page() {
  std::string text =
      "# Keys of a config\n\n"
      "Written by the program from its lists of keys; after a change regenerate it:\n\n"
      "    build/tidepool keys --markdown > docs/config.md\n\n"
      "`--set optim.lr=0.05` sets a key by its dotted path; a list's elements have their index as name\n"
      "(`optim.groups.0.lr`). A key that is absent has its default.\n";
  write_section(config_keys(), "", "", text);
  return text;
}

Json schema() {
  Json all{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
           {"title", "A tidepool config"},
           {"description", "Written by the program from its lists of keys: build/tidepool keys --schema"}};
  all.update(schema_of(config_keys()));
  return all;
}

int run(const Call& call) {
  if (call.json() + call.flag("markdown") + call.flag("schema") > 1)
    throw Error("--json, --markdown and --schema: one of them at a time");
  const std::string& part = call.argument();
  if (!part.empty() && (call.flag("markdown") || call.flag("schema")))
    throw Error("--{} describes all keys, but {} is named", call.flag("schema") ? "schema" : "markdown", part);
  if (call.flag("schema") || call.flag("markdown")) {
    print(call.flag("schema") ? pretty_json(schema()) : page());
    return 0;
  }
  std::vector<KeyRow> rows = key_rows(config_keys());
  if (!part.empty()) {
    std::vector<std::string> paths;
    for (const KeyRow& row : rows) paths.push_back(row.path);
    std::erase_if(rows, [&](const KeyRow& row) { return row.path != part && !row.path.starts_with(part + "."); });
    if (rows.empty()) throw Error("a config has no key '{}'{}", part, did_you_mean(part, paths));
  }
  if (call.json()) {
    Json list = Json::array();
    for (const KeyRow& row : rows) list.push_back(describe(row));
    print_json(list);
  } else {
    print(part.empty() ? list_as_text(rows) : part_as_text(rows));
  }
  return 0;
}

const Registered registered(
    {.name = "keys",
     .help = "lists every key of a config: type, range, default, meaning",
     .arguments = {"[KEY]"},
     .options = {{.name = "markdown", .help = "prints the documentation page, docs/config.md"},
                 {.name = "schema", .help = "prints what editors know of the keys, configs/schema.json"},
                 json_option()},
     .details = "KEY is a dotted path (optim, optim.lr, data.variant): that key and all below it.\n"
                "`tidepool ops` lists the operators of model.pool and their keys.\n",
     .run = run});

}  // namespace
}  // namespace tidepool
