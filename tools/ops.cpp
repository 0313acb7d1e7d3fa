// tidepool ops: what the registry of pooling operators knows, and what each operator keeps for its backward.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/key_schema.h"
#include "layers/pool/onnx.h"
#include "layers/pool/outside.h"
#include "layers/pool/prepared.h"
#include "tools/command.h"
#include "tools/documentation.h"
#include "train/escape.h"

namespace tidepool {
namespace {

constexpr int64_t kFactor = 2;

// What one training forward keeps at the operator's defaults where they (or a factor of 2) decide its output size; none
// when it does not run like that.
std::optional<KeptBytes> kept_bytes(const PoolDescription& op, DType dtype) {
  const bool plane = std::find(op.ranks.begin(), op.ranks.end(), 2) != op.ranks.end();
  const int rank = plane || op.ranks.empty() ? 2 : op.ranks.front();
  Dims x = Dims::filled(2 + rank, 32);
  x[0] = 4;
  x[1] = 16;
  try {
    return measure_kept_bytes(*make_pool_operator(config_for_factor(op, kFactor, x)), x, dtype);
  } catch (const Error&) {
    return std::nullopt;
  }
}

constexpr DType kMeasured[] = {DType::f32, DType::bf16};

std::string bytes_text(const std::optional<KeptBytes>& kept) {
  return kept ? fmt::format("{:.3g}", kept->per_element()) : "-";
}

// "4 in f32, 2 in bf16"
std::string bytes_text(const PoolDescription& op) {
  std::string text;
  for (const DType dtype : kMeasured)
    text += fmt::format("{}{} in {}", text.empty() ? "" : ", ", bytes_text(kept_bytes(op, dtype)), name_of(dtype));
  return text;
}

// The standard ONNX operators that an exported one is made of, in the same case; empty where it has no ONNX form.
std::vector<std::string> onnx_operators(const PoolDescription& op) {
  if (!has_onnx_form(op.name)) return {};
  const int rank = std::find(op.ranks.begin(), op.ranks.end(), 2) != op.ranks.end() ? 2 : op.ranks.front();
  Dims x = Dims::filled(2 + rank, 32);
  x[0] = 1;
  x[1] = 4;
  const nlohmann::json config = config_for_factor(op, kFactor, x);
  const auto made = make_pool_operator(config);
  onnx::Graph graph;
  pool_as_onnx(graph, graph.input("x", x), x, Json(config), *made, initial_values(*made, x, DType::f32, 0));
  return {graph.operators().begin(), graph.operators().end()};
}

std::string onnx_text(const PoolDescription& op) {
  const std::vector<std::string> names = onnx_operators(op);
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

Json describe(const PoolDescription& op) {
  Json keys = Json::array();
  for (const Key& key : op.keys)
    keys.push_back({{"name", key.name}, {"type", type_text(key)}, {"default", default_json(key)}, {"help", key.help}});
  Json bytes = Json::object();
  for (const DType dtype : kMeasured) {
    const auto kept = kept_bytes(op, dtype);
    bytes[name_of(dtype)] = kept ? Json(kept->per_element()) : Json(nullptr);
  }
  return {{"name", op.name},
          {"ranks", op.ranks},
          {"keys", keys},
          {"parameters", op.parameters},
          {"formula", op.formula},
          {"gradient", op.gradient},
          {"keeps", op.keeps},
          {"kept_bytes_per_element", bytes},
          {"source", op.source},
          {"notes", op.notes},
          {"onnx", onnx_operators(op)}};
}

std::string tensors_text(const PoolDescription& op, const char* quote) {
  if (op.parameters.empty()) return "none";
  std::vector<std::string> quoted;
  for (const std::string& name : op.parameters) quoted.push_back(fmt::format("{0}{1}{0}", quote, name));
  return fmt::format("{}", fmt::join(quoted, ", "));
}

std::string one_as_text(const PoolDescription& op) {
  std::string text = fmt::format(
      "{}\n  forward   {}\n  gradient  {}\n  keeps     {}\n  bytes     {} kept per element of x (measured at factor "
      "{})\n"
      "  ranks     {}\n  tensors   {}\n  onnx      {}\n  source    {}\n",
      op.name, op.formula, op.gradient, op.keeps, bytes_text(op), kFactor, fmt::join(op.ranks, ", "),
      tensors_text(op, ""), onnx_text(op), op.source);
  if (!op.notes.empty()) text += fmt::format("  notes     {}\n", op.notes);
  std::vector<std::vector<std::string>> rows;
  for (const Key& key : op.keys)
    rows.push_back({fmt::format("  {}", key.name), type_text(key), shown_default(key), key.help});
  if (!rows.empty()) text.append("\n").append(text_table({"  key", "type", "default", "meaning"}, rows));
  return text;
}

std::string list_as_text(const std::vector<const PoolDescription*>& operators) {
  std::string text;
  for (const PoolDescription* op : operators) {
    std::vector<std::string> keys;
    for (const Key& key : op->keys) keys.push_back(fmt::format("{}={}", key.name, shown_default(key)));
    text += fmt::format("{}\n  {}\n  ranks {}; keys: {}{}\n  {}\n\n", op->name, op->formula, fmt::join(op->ranks, ", "),
                        keys.empty() ? "none" : fmt::format("{}", fmt::join(keys, ", ")),
                        op->parameters.empty() ? "" : "; tensors: " + tensors_text(*op, ""), op->source);
  }
  return text + "`tidepool ops NAME` says what each key means.\n";
}

// How it is asked for, with the keys that halve a map: in a slot of a config, and in Python.
std::string uses_as_markdown(const PoolDescription& op) {
  const bool plane = std::find(op.ranks.begin(), op.ranks.end(), 2) != op.ranks.end();
  const int rank = plane || op.ranks.empty() ? 2 : op.ranks.front();
  const nlohmann::json config = config_for_factor(op, kFactor, Dims::filled(2 + rank, 32));
  std::string json = fmt::format("{{\"type\": \"{}\"", op.name), python;
  for (const Key& key : op.keys) {  // in their order
    if (!config.contains(key.name)) continue;
    const std::string value = config[key.name].dump();
    json += fmt::format(", \"{}\": {}", key.name, value);
    python += fmt::format("{}{}={}", python.empty() ? "" : ", ", key.name, value);
  }
  json = op.resizes ? json + "}  # in a config\n" : "";  // of what does not resize a config has none
  return fmt::format("\n```python\n{}tidepool.torch.{}{}d({})\ntidepool.torch.functional.{}{}d(x{}{})\n```\n", json,
                     class_name(op), rank, python, function_name(op), rank, python.empty() ? "" : ", ", python);
}

std::string one_as_markdown(const PoolDescription& op) {
  std::string text = fmt::format(
      "## `{}`\n\n```text\nforward   {}\ngradient  {}\n```\n\n{}. Ranks: {}. Tensors: {}. Kept for the backward: {} "
      "(bytes "
      "per element of x: {}). ONNX: {}.\n",
      op.name, op.formula, op.gradient, escape_markdown(op.source), fmt::join(op.ranks, ", "), tensors_text(op, "`"),
      escape_markdown(op.keeps), bytes_text(op), onnx_text(op));
  if (!op.notes.empty()) text += fmt::format("\n{}\n", escape_markdown(op.notes));
  text += uses_as_markdown(op);
  std::vector<std::vector<std::string>> rows;
  for (const Key& key : op.keys)
    rows.push_back({markdown_code(key.name), escape_markdown(type_text(key)), markdown_code(shown_default(key)),
                    escape_markdown(key.help)});
  if (!rows.empty()) text.append("\n").append(markdown_table({"key", "type", "default", "meaning"}, rows));
  return text;
}

std::string page(const std::vector<const PoolDescription*>& operators) {
  std::string text =
      "# Pooling operators\n\n"
      "Written by the program from its registry; after a change regenerate it:\n\n"
      "    build/tidepool ops --markdown > docs/operators.md\n\n"
      "Keys stand in a config beside `\"type\"`, and are arguments by name in Python (README, \"In PyTorch\"). A "
      "window's elements `x_i` are those that it really covers: padding "
      "is\n"
      "absence. *Ranks* are the numbers of spatial axes that an operator takes; *tensors* are its learned parameters, "
      "by\n"
      "the names that they have in a checkpoint. What is kept is measured: the bytes that one training forward leaves "
      "on\n"
      "the tape, over the elements of x, at the defaults and a factor of 2. *ONNX* are the standard operators that\n"
      "`tidepool export` writes for it there, \"none\" where it cannot be exported.\n\n";
  std::vector<std::vector<std::string>> rows;
  for (const PoolDescription* op : operators)
    rows.push_back({fmt::format("[`{0}`](#{0})", op->name), fmt::format("{}", fmt::join(op->ranks, ", ")),
                    tensors_text(*op, "`"), bytes_text(kept_bytes(*op, DType::f32)), escape_markdown(op->source)});
  text += markdown_table({"operator", "ranks", "tensors", "bytes kept per element, f32", "source"}, rows);
  for (const PoolDescription* op : operators) text.append("\n").append(one_as_markdown(*op));
  return text;
}

// configs/operators.schema.json, to which schema.json refers: for editors; the program asks the operators themselves.
Json schema(const std::vector<const PoolDescription*>& operators) {
  Json names = Json::array(), rules = Json::array();
  for (const PoolDescription* op : operators) {
    names.push_back(op->name);
    Json keys = Json::object();
    for (const Key& key : op->keys) keys[key.name] = schema_of(key);
    if (keys.empty()) continue;
    rules.push_back({{"if", {{"properties", {{"type", {{"const", op->name}}}}}}}, {"then", {{"properties", keys}}}});
  }
  return {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
          {"title", "The pooling operators and their keys"},
          {"description", "Written by the program from its registry: build/tidepool ops --schema"},
          {"properties", {{"type", {{"enum", names}}}}},
          {"allOf", rules}};
}

int run(const Call& call) {
  if (call.json() + call.flag("markdown") + call.flag("schema") > 1)
    throw Error("--json, --markdown and --schema: one of them at a time");
  if (call.flag("schema")) {
    if (!call.argument().empty()) throw Error("--schema describes all operators, but {} is named", call.argument());
    print(pretty_json(schema(pool_operators())));
    return 0;
  }
  if (!call.argument().empty()) {
    const PoolDescription& op = find_pool_operator(call.argument());
    if (call.json())
      print_json(describe(op));
    else
      print(call.flag("markdown") ? one_as_markdown(op) : one_as_text(op));
    return 0;
  }
  const std::vector<const PoolDescription*> operators = pool_operators();
  if (call.json()) {
    Json list = Json::array();
    for (const PoolDescription* op : operators) list.push_back(describe(*op));
    print_json(list);
  } else {
    print(call.flag("markdown") ? page(operators) : list_as_text(operators));
  }
  return 0;
}

const Registered registered(
    {.name = "ops",
     .help = "lists every pooling operator with its keys, defaults and source",
     .arguments = {"[NAME]"},
     .options = {{.name = "markdown", .help = "prints the documentation page, docs/operators.md"},
                 {.name = "schema", .help = "prints what editors know of the keys, configs/operators.schema.json"},
                 json_option()},
     .details = "With NAME: formula, gradient, what is kept for the backward (measured), and what each key means.",
     .run = run});

}  // namespace
}  // namespace tidepool
