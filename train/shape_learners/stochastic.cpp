#include "train/shape_learners/learner.h"

namespace tidepool {
namespace {

enum class Estimate { differences, score };

struct StochasticOptions {
  double sigma = 0.5;
  Estimate estimate = Estimate::differences;

  void keys(Keys& k) {
    k.number("sigma", sigma, "Standard deviation of the drawn sizes about their means, in rows (columns).")
        .above(0)
        .at_most(65536);
    k.choice(
        "estimate", estimate, {"differences", "score"},
        "differences: half the difference of the losses at the drawn sizes and at those on the other side of their "
        "means, one forward per update. score: the loss less its moving average, times the score of the draw; no "
        "forward, and far noisier.");
  }
};

// Sizes s + sigma e with e standard normal. The mean loss over draws is a function of s whose gradient is
// E[L(s + sigma e) e] / sigma (Williams 1992), and by symmetry E[(L(s + sigma e) - L(s - sigma e)) e] / (2 sigma)
// (Salimans et al. 2017).
class Stochastic final : public ShapeLearner {
 public:
  explicit Stochastic(const StochasticOptions& options) : options_(options) {}

  void draw(Random& random, std::span<double> rows) const override {
    for (double& one : rows) one = options_.sigma * random.normal();
  }

  std::vector<double> estimate(ShapeProbe& probe, Random& /*random*/) const override {
    std::vector<double> gradient(probe.drawn().begin(), probe.drawn().end());
    double advantage = 0;
    if (options_.estimate == Estimate::differences) {
      std::vector<double> opposite = gradient;
      for (double& one : opposite) one = -one;
      advantage = (probe.drawn_loss() - probe.loss(opposite)) / 2;
    } else {
      advantage = probe.drawn_loss() - mean_of(probe.drawn_loss());
    }
    for (double& one : gradient) one *= advantage / (options_.sigma * options_.sigma);
    return gradient;
  }

  std::vector<std::pair<std::string, Tensor>> state() const override {
    if (options_.estimate != Estimate::score) return {};
    return {{"mean_loss", mean_loss_}};
  }

 private:
  // The moving average of the losses before this one (at first this one), which then joins it.
  double mean_of(double loss) const {
    constexpr double kDecay = 0.9;
    std::vector<double> kept = mean_loss_.values();
    const double mean = kept[1] == 0 ? loss : kept[0];
    mean_loss_.copy_from(Tensor::from<double>({kDecay * mean + (1 - kDecay) * loss, 1}, {2}));
    return mean;
  }

  StochasticOptions options_;
  Tensor mean_loss_ = Tensor::zeros({2}, {.dtype = DType::f64});  // and whether there is one
};

}  // namespace

const ShapeLearnerDescription& shape_learner_stochastic() {
  static const ShapeLearnerDescription kDescription = describe_shape_learner<StochasticOptions, Stochastic>(
      "stochastic",
      "each step trains at sizes drawn about their means, so that the weights serve neighbouring sizes alike, and the "
      "means follow the losses (Williams 1992; Salimans et al. 2017)");
  return kDescription;
}

}  // namespace tidepool
