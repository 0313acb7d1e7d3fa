#include "core/find_named.h"
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
  return find_named(optimizers(), name, "unknown optimizer");
}

}  // namespace tidepool
