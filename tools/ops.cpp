// tidepool ops: what the registry of pooling operators knows.
#include <nlohmann/json.hpp>

#include "layers/pool/operator.h"
#include "tools/command.h"

namespace tidepool {
namespace {

Json start_of(const PoolKey& key) {
  if (key.start.empty()) return nullptr;
  const Json value = Json::parse(key.start, nullptr, /*allow_exceptions=*/false);
  return value.is_discarded() ? Json(key.start) : value;
}

Json describe(const PoolDescription& op) {
  Json keys = Json::array();
  for (const PoolKey& key : op.keys)
    keys.push_back({{"name", key.name}, {"type", key.type}, {"default", start_of(key)}, {"says", key.says}});
  return {{"name", op.name},       {"ranks", op.ranks},       {"keys", keys},      {"parameters", op.parameters},
          {"formula", op.formula}, {"gradient", op.gradient}, {"keeps", op.keeps}, {"source", op.source}};
}

std::string default_text(const PoolKey& key) {
  return key.start.empty() ? "-" : key.start;
}

int run(const Call& call) {
  if (!call.argument().empty()) {
    const PoolDescription& op = find_pool_operator(call.argument());
    if (call.json()) {
      print_json(describe(op));
      return 0;
    }
    std::string text = fmt::format(
        "{}\n  forward   {}\n  gradient  {}\n  keeps     {}\n  ranks     {}\n  tensors   {}\n  source    {}\n", op.name,
        op.formula, op.gradient, op.keeps, fmt::join(op.ranks, ", "),
        op.parameters.empty() ? "none" : fmt::format("{}", fmt::join(op.parameters, ", ")), op.source);
    std::vector<std::vector<std::string>> rows;
    for (const PoolKey& key : op.keys)
      rows.push_back({fmt::format("  {}", key.name), key.type, default_text(key), key.says});
    if (!rows.empty()) text.append("\n").append(text_table({"  key", "type", "default", "meaning"}, rows));
    print(text);
    return 0;
  }
  if (call.json()) {
    Json list = Json::array();
    for (const PoolDescription* op : pool_operators()) list.push_back(describe(*op));
    print_json(list);
    return 0;
  }
  std::string text;
  for (const PoolDescription* op : pool_operators()) {
    std::vector<std::string> keys;
    for (const PoolKey& key : op->keys) keys.push_back(fmt::format("{}={}", key.name, default_text(key)));
    text += fmt::format("{}\n  {}\n  ranks {}; keys: {}{}\n  {}\n\n", op->name, op->formula, fmt::join(op->ranks, ", "),
                        keys.empty() ? "none" : fmt::format("{}", fmt::join(keys, ", ")),
                        op->parameters.empty() ? "" : fmt::format("; tensors: {}", fmt::join(op->parameters, ", ")),
                        op->source);
  }
  print(text + "`tidepool ops NAME` says what each key means.\n");
  return 0;
}

const Registered registered({.name = "ops",
                             .says = "lists every pooling operator with its keys, defaults and source",
                             .arguments = {"[NAME]"},
                             .options = {json_option()},
                             .run = run});

}  // namespace
}  // namespace tidepool
