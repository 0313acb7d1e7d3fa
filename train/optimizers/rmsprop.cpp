#include "train/optimizers/rule.h"

namespace tidepool {
namespace {

struct RmspropOptions : RmspropConstants {
  void keys(Keys& k) {
    k.number("alpha", alpha, "decay of the mean square of the gradient").at_least(0).below(1);
    k.number("eps", eps, "added to the root of the mean square").above(0);
    k.number("momentum", momentum, "momentum").at_least(0).below(1);
    k.flag("centered", centered, "divide by the gradient's standard deviation, not its root mean square");
  }
};

// The formula: core/backend/update.h.
class Rmsprop final : public UpdateRule {
 public:
  explicit Rmsprop(const RmspropOptions& options) : options_(options) {}
  std::vector<std::string> state() const override {
    std::vector<std::string> names{"square_average"};
    if (options_.momentum > 0) names.emplace_back("momentum");
    if (options_.centered) names.emplace_back("gradient_average");
    return names;
  }
  void update(std::span<const ParameterUpdate> parameters, const UpdateStep& step) const override {
    rmsprop_update(parameters, step, options_);
  }

 private:
  RmspropOptions options_;
};

}  // namespace

const OptimizerDescription& optimizer_rmsprop() {
  static const OptimizerDescription kDescription = describe_optimizer<RmspropOptions, Rmsprop>(
      "rmsprop", "gradients over the root of their mean square, as torch.optim.RMSprop has it");
  return kDescription;
}

}  // namespace tidepool
