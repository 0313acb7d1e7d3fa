#include "train/shape_learners/learner.h"

namespace tidepool {
namespace {

struct GradientOptions {
  void keys(Keys& /*k*/) {}
};

class Gradient final : public ShapeLearner {
 public:
  explicit Gradient(const GradientOptions& /*options*/) {}
  bool uses_backward() const override { return true; }
};

}  // namespace

const ShapeLearnerDescription& shape_learner_gradient() {
  static const ShapeLearnerDescription kDescription = describe_shape_learner<GradientOptions, Gradient>(
      "gradient", "the operator's own gradient, from the backward pass, as its paper has it");
  return kDescription;
}

}  // namespace tidepool
