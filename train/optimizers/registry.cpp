#include "core/error.h"
#include "train/optimizers/rule.h"

namespace tidepool {

// The list is a table and not a matter of static constructors, which a linker may leave out of a static library.
const OptimizerDescription& optimizer_adamw();
const OptimizerDescription& optimizer_rmsprop();
const OptimizerDescription& optimizer_sgd();

std::vector<const OptimizerDescription*> optimizers() {
  return {&optimizer_adamw(), &optimizer_rmsprop(), &optimizer_sgd()};
}

const OptimizerDescription& find_optimizer(const std::string& name) {
  std::vector<std::string> names;
  for (const OptimizerDescription* each : optimizers()) {
    if (each->name == name) return *each;
    names.push_back(each->name);
  }
  throw Error("unknown optimizer '{}'{}; known: {}", name, did_you_mean(name, names), fmt::join(names, ", "));
}

}  // namespace tidepool
