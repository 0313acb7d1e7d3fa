// What callers outside of networks must know of an operator beside its description: names in Python, and whether it
// draws.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "layers/pool/operator.h"

namespace tidepool {

/// "SoftPool", of which the class for two spatial axes is SoftPool2d.
std::string class_name(const PoolDescription& op);
/// "soft_pool", of which the function for two spatial axes is soft_pool2d.
std::string function_name(const PoolDescription& op);

/// Whether a forward in training depends on the mode's seed and step, for an operator with that config ({"type": ...}).
bool draws_in_training(const nlohmann::json& config);

}  // namespace tidepool
