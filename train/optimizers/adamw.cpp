#include <array>

#include "train/optimizers/rule.h"

namespace tidepool {
namespace {

struct AdamWOptions {
  std::array<double, 2> betas{0.9, 0.999};
  double eps = 1e-8;

  void keys(Keys& k) {
    k.numbers("betas", betas, "decay of the two moments").at_least(0).below(1);
    k.number("eps", eps, "added to the root of the second moment").above(0);
  }
};

// w -= rate decay w; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;
// w -= rate m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps).
class AdamW final : public UpdateRule {
 public:
  explicit AdamW(const AdamWOptions& options) : options_(options) {}
  std::vector<std::string> state() const override { return {"moment1", "moment2"}; }
  void update(std::span<const ParameterUpdate> parameters, const UpdateStep& step) const override {
    const auto t = static_cast<double>(step.updates + 1);
    const double beta1 = options_.betas[0], beta2 = options_.betas[1];
    const double correction1 = 1 - std::pow(beta1, t), correction2 = 1 - std::pow(beta2, t);
    update_elements(parameters, [&]<class T>(const ParameterUpdate& p) {
      const T shrink = static_cast<T>(1 - step.rate * p.weight_decay), b1 = static_cast<T>(beta1),
              b2 = static_cast<T>(beta2);
      const T size = static_cast<T>(step.rate / correction1), root = static_cast<T>(1 / std::sqrt(correction2));
      const T eps = static_cast<T>(options_.eps), scale = static_cast<T>(step.grad_scale);
      T* w = p.value.mutable_data<T>();
      const T* grad = p.grad.data<T>();
      T* m = p.state[0].mutable_data<T>();
      T* v = p.state[1].mutable_data<T>();
      return [=]<class V>(int64_t i) {
        const V g = load<V>(grad + i) * scale;
        const V first = load<V>(m + i) * b1 + g * (1 - b1), second = load<V>(v + i) * b2 + g * g * (1 - b2);
        store(m + i, first);
        store(v + i, second);
        store(w + i, load<V>(w + i) * shrink - first * size / (roots(second) * root + eps));
      };
    });
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
