#include <algorithm>

#include "train/shape_learners/learner.h"

namespace tidepool {
namespace {

enum class Directions { all, one };

struct DifferencesOptions {
  double rows = 1;
  Directions directions = Directions::all;
  int64_t pairs = 1;

  void keys(Keys& k) {
    k.number("rows", rows, "Rows (columns) by which a size is moved up and down.").above(0).at_most(65536);
    k.choice("directions", directions, {"all", "one"},
             "all: every size at once, each up or down by a random sign (SPSA). one: a size drawn at random, whose "
             "difference counts as many times as there are sizes, so that both have the same mean.");
    k.integer("pairs", pairs, "Directions whose estimates are averaged; each costs two forwards.")
        .at_least(1)
        .at_most(1024);
  }
};

// (L(+h d) - L(-h d)) / (2 h) d over random directions d. Its mean is the gradient of the loss in the lengths, to the
// third order of h; of a size at a bound, which moves to one side alone, to the second.
class Differences final : public ShapeLearner {
 public:
  explicit Differences(const DifferencesOptions& options) : options_(options) {}

  std::vector<double> estimate(ShapeProbe& probe, Random& random) const override {
    const size_t n = probe.sizes();
    std::vector<double> gradient(n), direction(n), more(n), fewer(n);
    const auto loss_at = [&](double distance, std::span<double> rows) {
      for (size_t i = 0; i < n; ++i) rows[i] = distance * direction[i];
      return probe.loss(rows);
    };
    for (int64_t pair = 0; pair < options_.pairs; ++pair) {
      double times = 1;
      if (options_.directions == Directions::all) {
        for (double& sign : direction) sign = random.word() & 1 ? 1 : -1;
      } else {
        std::fill(direction.begin(), direction.end(), 0);
        direction[random.below(static_cast<uint32_t>(n))] = 1;
        times = static_cast<double>(n);
      }
      const double difference = loss_at(options_.rows, more) - loss_at(-options_.rows, fewer);
      for (size_t i = 0; i < n; ++i)
        if (more[i] != fewer[i])
          gradient[i] += times * difference / ((more[i] - fewer[i]) * static_cast<double>(options_.pairs));
    }
    return gradient;
  }

 private:
  DifferencesOptions options_;
};

}  // namespace

const ShapeLearnerDescription& shape_learner_differences() {
  static const ShapeLearnerDescription kDescription = describe_shape_learner<DifferencesOptions, Differences>(
      "differences",
      "the same batch's loss with maps of more and of fewer rows; it sees what is lost with resolution, and costs two "
      "forwards per update and pair (Kiefer & Wolfowitz 1952; Spall 1992)");
  return kDescription;
}

}  // namespace tidepool
