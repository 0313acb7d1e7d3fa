#include "train/optimizers/rule.h"

namespace tidepool {
namespace {

struct SgdOptions : SgdConstants {
  void keys(Keys& k) {
    k.number("momentum", momentum, "momentum").at_least(0).below(1);
    k.flag("nesterov", nesterov, "Nesterov's momentum");
    k.expect(!nesterov || momentum > 0, "nesterov",
             "true needs a momentum above 0, got optim.momentum 0; say optim.nesterov=false for plain SGD");
  }
};

// The formula: core/backend/update.h.
class Sgd final : public UpdateRule {
 public:
  explicit Sgd(const SgdOptions& options) : options_(options) {}
  std::vector<std::string> state() const override { return {"momentum"}; }
  void update(std::span<const ParameterUpdate> parameters, const UpdateStep& step) const override {
    sgd_update(parameters, step, options_);
  }

 private:
  SgdOptions options_;
};

}  // namespace

const OptimizerDescription& optimizer_sgd() {
  static const OptimizerDescription kDescription =
      describe_optimizer<SgdOptions, Sgd>("sgd", "gradient descent with momentum, as torch.optim.SGD has it");
  return kDescription;
}

}  // namespace tidepool
