#include "train/optimizers/rule.h"

namespace tidepool {
namespace {

struct RmspropOptions {
  double alpha = 0.99;
  double eps = 1e-8;
  double momentum = 0;
  bool centered = false;

  void keys(Keys& k) {
    k.number("alpha", alpha, "decay of the mean square of the gradient").at_least(0).below(1);
    k.number("eps", eps, "added to the root of the mean square").above(0);
    k.number("momentum", momentum, "momentum").at_least(0).below(1);
    k.flag("centered", centered, "divide by the gradient's standard deviation, not its root mean square");
  }
};

// g += decay w; s = alpha s + (1 - alpha) g^2; u = g / (sqrt(s) + eps); b = momentum b + u; w -= rate b.
// Centered: a = alpha a + (1 - alpha) g, and s - a^2 instead of s under the root.
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
    if (options_.momentum > 0)
      options_.centered ? update_as<true, true>(parameters, step) : update_as<true, false>(parameters, step);
    else
      options_.centered ? update_as<false, true>(parameters, step) : update_as<false, false>(parameters, step);
  }

 private:
  template <bool kMomentum, bool kCentered>
  void update_as(std::span<const ParameterUpdate> parameters, const UpdateStep& step) const {
    update_elements(parameters, [&]<class T>(const ParameterUpdate& p) {
      const T rate = static_cast<T>(step.rate), decay = static_cast<T>(p.weight_decay),
              scale = static_cast<T>(step.grad_scale);
      const T alpha = static_cast<T>(options_.alpha), rest = static_cast<T>(1 - options_.alpha),
              eps = static_cast<T>(options_.eps), momentum = static_cast<T>(options_.momentum);
      T* w = p.value.mutable_data<T>();
      const T* grad = p.grad.data<T>();
      T* square = p.state[0].mutable_data<T>();
      T* buffer = kMomentum ? p.state[1].mutable_data<T>() : nullptr;
      T* average = kCentered ? p.state[kMomentum ? 2 : 1].mutable_data<T>() : nullptr;
      return [=]<class V>(int64_t i) {
        const V before = load<V>(w + i), g = load<V>(grad + i) * scale + before * decay;
        const V s = load<V>(square + i) * alpha + g * g * rest;
        store(square + i, s);
        V spread = s;
        if constexpr (kCentered) {
          const V a = load<V>(average + i) * alpha + g * rest;
          store(average + i, a);
          spread = max_number(s - a * a, V{});  // rounding can make it negative, and the root NaN
        }
        V u = g / (roots(spread) + eps);
        if constexpr (kMomentum) {
          u = load<V>(buffer + i) * momentum + u;
          store(buffer + i, u);
        }
        store(w + i, before - u * rate);
      };
    });
  }

  RmspropOptions options_;
};

}  // namespace

const OptimizerDescription& optimizer_rmsprop() {
  static const OptimizerDescription kDescription = describe_optimizer<RmspropOptions, Rmsprop>(
      "rmsprop", "gradients over the root of their mean square, as torch.optim.RMSprop has it");
  return kDescription;
}

}  // namespace tidepool
