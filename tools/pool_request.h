// Which pooling operators a command is to run, and with which keys: --op and --config.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "layers/pool/operator.h"
#include "tools/command.h"

namespace tidepool {

/// One operator of --op with its keys as they were given (without "type").
struct PoolRequest {
  const PoolDescription* op = nullptr;
  nlohmann::json config = nlohmann::json::object();
};

Option op_names_option(bool required);
Option op_config_option();

/// The object behind --config, JSON text or @FILE. Throws Error.
nlohmann::json read_op_config(const Call& call);
/// It as the config of the operator `name`: with "type", which may stand there already. Throws Error for another type.
nlohmann::json op_config(nlohmann::json config, const std::string& name);

/// The operators of --op (all where it is not given) in the order given, each with its part of --config: the object
/// under the operator's name, or, with one operator, the object itself. Throws Error for an unknown or repeated name,
/// and for a part that belongs to no operator of --op.
std::vector<PoolRequest> pool_requests(const Call& call);

}  // namespace tidepool
