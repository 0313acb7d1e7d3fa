#include "tools/pool_request.h"

#include <algorithm>

#include "core/error.h"
#include "tools/data_root.h"

namespace tidepool {

Option op_names_option(bool required) {
  return {.name = "op",
          .value = "NAME[,NAME...]",
          .help = "operators, as `tidepool ops` lists them",
          .default_value = required ? "" : "all",
          .required = required};
}

Option op_config_option() {
  return {.name = "config",
          .value = "JSON",
          .help =
              "keys of the operator as JSON text or @FILE; with several operators an object of such objects by "
              "name: {\"lp\": {\"p\": 3}}",
          .default_value = "{}"};
}

nlohmann::json read_op_config(const Call& call) {
  const std::string& text = call.text("config");
  if (text == "@") throw Error("--config: expected the name of a file after the @, got '@' alone");
  const Json config = text.starts_with('@') ? read_json(expand_home(text.substr(1))) : parse_json(text, "--config");
  if (!config.is_object()) throw Error("--config: expected an object, got {}", brief_json(config));
  return config;
}

nlohmann::json op_config(nlohmann::json config, const std::string& name) {
  if (config.contains("type") && config["type"] != name)
    throw Error("--config: type: expected '{}', the operator that was asked for, got {}", name,
                brief_json(Json(config["type"])));
  config["type"] = name;
  return config;
}

std::vector<PoolRequest> pool_requests(const Call& call) {
  std::vector<PoolRequest> requests;
  std::vector<std::string> names;
  if (call.text("op") == "all") {
    for (const PoolDescription* op : pool_operators()) requests.push_back({.op = op});
  } else {
    const std::string& list = call.text("op");
    for (size_t at = 0; at <= list.size();) {
      const size_t end = std::min(list.find(',', at), list.size());
      const std::string name = list.substr(at, end - at);
      at = end + 1;
      if (name.empty()) throw Error("--op: expected names with commas between them, got '{}'", list);
      requests.push_back({.op = &find_pool_operator(name)});
    }
  }
  for (const PoolRequest& request : requests) {
    if (std::find(names.begin(), names.end(), request.op->name) != names.end())
      throw Error("--op: '{}' is given twice", request.op->name);
    names.push_back(request.op->name);
  }
  const nlohmann::json config = read_op_config(call);
  if (requests.size() == 1 && !(config.contains(names[0]) && config[names[0]].is_object())) {
    requests[0].config = op_config(config, names[0]);
    return requests;
  }
  for (const auto& [name, keys] : config.items()) {
    const auto at = std::find(names.begin(), names.end(), name);
    if (at == names.end())
      throw Error(
          "--config: '{}' is none of the operators of --op{}: with several operators each has an object of "
          "its own under its name",
          name, did_you_mean(name, names));
    if (!keys.is_object())
      throw Error("--config: {}: expected an object of the operator's keys, got {}", name, brief_json(Json(keys)));
    requests[static_cast<size_t>(at - names.begin())].config = op_config(keys, name);
  }
  return requests;
}

}  // namespace tidepool
