#include "layers/pool/outside.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace tidepool {

std::string class_name(const PoolDescription& op) {
  // As their papers spell them.
  constexpr std::pair<const char*, const char*> kSpelled[] = {{"diffstride", "DiffStride"},
                                                              {"dpp", "DPPPool"},
                                                              {"dynopool", "DynOPool"},
                                                              {"edscw", "EDSCWPool"},
                                                              {"em", "EMPool"},
                                                              {"gem", "GeMPool"},
                                                              {"lip", "LIPPool"},
                                                              {"lp", "LPPool"},
                                                              {"lse", "LSEPool"},
                                                              {"shape_adaptor", "ShapeAdaptor"},
                                                              {"space_to_depth", "SpaceToDepth"},
                                                              {"spp", "SPPPool"}};
  for (const auto& [name, spelled] : kSpelled)
    if (op.name == name) return spelled;
  std::string camel;
  bool upper = true;
  for (const char c : op.name) {
    if (c != '_') camel += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    upper = c == '_';
  }
  return camel + "Pool";
}

std::string function_name(const PoolDescription& op) {
  const bool is_a_pool = class_name(op).ends_with("Pool") && !op.name.ends_with("pool");
  return is_a_pool ? op.name + "_pool" : op.name;
}

bool draws_in_training(const nlohmann::json& config) {
  const std::string type = config.at("type");
  return type == "fractional_max" || type == "s3" || type == "stochastic" ||
         (type == "mixed" && config.value("random", false));
}

}  // namespace tidepool
