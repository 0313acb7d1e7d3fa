// A named optimizer: its keys, the tensors it keeps a parameter, its update; and the registry that knows them by name.
// The groups, their rates and when they move are train/optimizer.h's.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/backend/update.h"
#include "core/json.h"
#include "core/tensor.h"

namespace tidepool {

/// Visits the keys of one optimizer. An options struct has `void keys(OptimizerKeys& k)` that names each of its members
/// once, e.g. `k.number("momentum", momentum, "momentum").at_least(0)`; the member's value before is the default.
/// Types and ranges are checked with the rest of the config, by the schema that `described()` becomes a part of.
class OptimizerKeys {
 public:
  /// Limits on the key named last; of each number of a list.
  class Limits {
   public:
    Limits at_least(double low) const { return limit("minimum", low); }
    Limits above(double low) const { return limit("exclusiveMinimum", low); }
    Limits below(double high) const { return limit("exclusiveMaximum", high); }

   private:
    friend class OptimizerKeys;
    explicit Limits(Json* node) : node_(node) {}
    Limits limit(const char* keyword, double bound) const;
    Json* node_;
  };

  /// `values` has been checked; keys that it lacks keep their defaults. Null: only describes.
  explicit OptimizerKeys(const Json* values);
  ~OptimizerKeys();
  OptimizerKeys(const OptimizerKeys&) = delete;
  OptimizerKeys& operator=(const OptimizerKeys&) = delete;

  Limits number(const char* name, double& v, const char* help);
  /// As many as there are.
  Limits numbers(const char* name, std::span<double> v, const char* help);
  void flag(const char* name, bool& v, const char* help);
  /// The message of the first that does not hold is kept, with the key that it is about.
  void expect(bool ok, const char* name, const char* help);

  /// Key -> its JSON schema, with the default and what `says` says of it.
  const Json& described() const { return *described_; }
  const std::optional<std::pair<std::string, std::string>>& complaint() const { return complaint_; }

 private:
  /// The value, or null; describes the key on the way.
  const Json* find(const char* name, const Json& schema, const char* help);

  const Json* values_;
  std::unique_ptr<Json> described_;
  std::optional<std::pair<std::string, std::string>> complaint_;
};

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
  void (*keys)(OptimizerKeys& keys) = nullptr;
  std::unique_ptr<UpdateRule> (*make)(const Json& options) = nullptr;
};

/// All optimizers by name, sorted.
std::vector<const OptimizerDescription*> optimizers();
/// Throws Error with the nearest right name.
const OptimizerDescription& find_optimizer(const std::string& name);

/// The optimizer's own keys: key -> its JSON schema, with its default.
const Json& optimizer_keys(const OptimizerDescription& optimizer);
/// Puts names and keys of all optimizers into the config's schema: those of `optim` and of its groups. A key that
/// several have must have one type and range: throws Failure otherwise.
void describe_optimizers(Json& schema);

/// From an options struct and a rule that is made of it.
template <class Options, class Rule>
OptimizerDescription describe_optimizer(const char* name, const char* help) {
  return {.name = name,
          .help = help,
          .keys = [](OptimizerKeys& keys) { Options{}.keys(keys); },
          .make = [](const Json& values) -> std::unique_ptr<UpdateRule> {
            Options options;
            OptimizerKeys keys(&values);
            options.keys(keys);
            return std::make_unique<Rule>(options);
          }};
}

}  // namespace tidepool
