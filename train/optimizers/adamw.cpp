#include "train/optimizers/rule.h"

namespace tidepool {
namespace {

struct AdamWOptions : AdamWConstants {
  void keys(Keys& k) {
    k.numbers("betas", betas, "decay of the two moments").at_least(0).below(1);
    k.number("eps", eps, "added to the root of the second moment").above(0);
  }
};

// The formula: core/backend/update.h.
class AdamW final : public UpdateRule {
 public:
  explicit AdamW(const AdamWOptions& options) : options_(options) {}
  std::vector<std::string> state() const override { return {"moment1", "moment2"}; }
  void update(std::span<const ParameterUpdate> parameters, const UpdateStep& step) const override {
    adamw_update(parameters, step, options_);
  }

 private:
  AdamWOptions options_;
};

}  // namespace

const OptimizerDescription& optimizer_adamw() {
  static const OptimizerDescription kDescription = describe_optimizer<AdamWOptions, AdamW>(
      "adamw", "Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019)");
  return kDescription;
}

}  // namespace tidepool
