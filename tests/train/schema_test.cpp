// What configs/schema.json tells an editor about the operators' keys is what the operators know.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "layers/pool/operator.h"
#include "train/config.h"

namespace tidepool {
namespace {

TEST(SchemaTest, DescribesOnlyKeysThatTheOperatorsHave) {
  const Json schema = parse_json(*embedded_config("schema.json"), "schema.json");
  int described = 0;
  for (const Json& rule : schema.at("$defs").at("pool").at("allOf")) {
    const Json& type = rule.at("if").at("properties").at("type");
    const Json names = type.contains("enum") ? type.at("enum") : Json::array({type.at("const")});
    for (const Json& name : names) {
      const PoolDescription& op = find_pool_operator(name.get<std::string>());
      for (const auto& [key, value] : rule.at("then").at("properties").items()) {
        EXPECT_TRUE(std::any_of(op.keys.begin(), op.keys.end(), [&](const PoolKey& k) { return k.name == key; }))
            << op.name << " has no key " << key;
        ++described;
      }
    }
  }
  EXPECT_GE(described, 20);
}

}  // namespace
}  // namespace tidepool
