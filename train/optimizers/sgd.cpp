#include "train/optimizers/rule.h"

namespace tidepool {
namespace {

struct SgdOptions {
  double momentum = 0.9;
  bool nesterov = true;

  void keys(Keys& k) {
    k.number("momentum", momentum, "momentum").at_least(0).below(1);
    k.flag("nesterov", nesterov, "Nesterov's momentum");
    k.expect(!nesterov || momentum > 0, "nesterov",
             "true needs a momentum above 0, got optim.momentum 0; say optim.nesterov=false for plain SGD");
  }
};

// g += decay w; v = momentum v + g, at first g; w -= rate v (Nesterov: rate (g + momentum v)).
class Sgd final : public UpdateRule {
 public:
  explicit Sgd(const SgdOptions& options) : options_(options) {}
  std::vector<std::string> state() const override { return {"momentum"}; }
  void update(std::span<const ParameterUpdate> parameters, const UpdateStep& step) const override {
    if (options_.nesterov)
      update_as<true>(parameters, step);
    else
      update_as<false>(parameters, step);
  }

 private:
  template <bool kNesterov>
  void update_as(std::span<const ParameterUpdate> parameters, const UpdateStep& step) const {
    update_elements(parameters, [&]<class T>(const ParameterUpdate& p) {
      const T rate = static_cast<T>(step.rate), decay = static_cast<T>(p.weight_decay),
              momentum = static_cast<T>(options_.momentum), scale = static_cast<T>(step.grad_scale),
              keep = step.updates == 0 ? T{0} : momentum;
      T* w = p.value.mutable_data<T>();
      const T* grad = p.grad.data<T>();
      T* velocity = p.state[0].mutable_data<T>();
      return [=]<class V>(int64_t i) {
        const V before = load<V>(w + i), g = load<V>(grad + i) * scale + before * decay;
        const V v = load<V>(velocity + i) * keep + g;
        store(velocity + i, v);
        store(w + i, before - (kNesterov ? g + v * momentum : v) * rate);
      };
    });
  }

  SgdOptions options_;
};

}  // namespace

const OptimizerDescription& optimizer_sgd() {
  static const OptimizerDescription kDescription =
      describe_optimizer<SgdOptions, Sgd>("sgd", "gradient descent with momentum, as torch.optim.SGD has it");
  return kDescription;
}

}  // namespace tidepool
