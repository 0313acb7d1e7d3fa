// A named optimizer: its keys, the tensors it keeps per parameter, its update; and the registry that knows them by
// name. The groups, their rates and when they move are train/optimizer.h's.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/backend/update.h"
#include "core/json.h"
#include "core/keys.h"
#include "core/tensor.h"

namespace tidepool {

/// A configured optimizer. Stateless: what it keeps travels beside the parameters.
class UpdateRule {
 public:
  virtual ~UpdateRule() = default;
  /// Names of the tensors that it keeps for a parameter, of the parameter's shape and zero at first. They are names in
  /// checkpoints ("features.0.weight/momentum").
  virtual std::vector<std::string> state() const = 0;
  /// Writes the parameters and their state. All parameters are of one type.
  virtual void update(std::span<const ParameterUpdate> parameters, const UpdateStep& step) const = 0;
};

struct OptimizerDescription {
  std::string name;
  std::string help;  ///< one sentence with formula and source
  std::vector<Key> keys;
  /// Calls `fail` for the first of these values that is wrong, or that contradicts another.
  void (*check)(const Json& options, const KeyFail& fail) = nullptr;
  /// From values that are of the right types; those that are absent have their defaults.
  std::unique_ptr<UpdateRule> (*make)(const Json& options) = nullptr;
};

/// All optimizers by name, sorted.
std::vector<const OptimizerDescription*> optimizers();
/// Throws Error with the nearest right name.
const OptimizerDescription& find_optimizer(const std::string& name);

/// From an options struct, which lists its keys, and a rule that is made of it.
template <class Options, class Rule>
OptimizerDescription describe_optimizer(const char* name, const char* help) {
  return {.name = name,
          .help = help,
          .keys = list_keys<Options>().keys,
          .check = [](const Json& options, const KeyFail& fail) { read_keys<Options>(options, fail); },
          .make = [](const Json& values) -> std::unique_ptr<UpdateRule> {
            Options options;
            Keys keys(values);
            options.keys(keys);
            return std::make_unique<Rule>(options);
          }};
}

}  // namespace tidepool
