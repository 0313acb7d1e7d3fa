#include "core/error.h"
#include "train/shape_learners/learner.h"

namespace tidepool {

// The list is a table and not a matter of static constructors, which a linker may leave out of a static library.
const ShapeLearnerDescription& shape_learner_differences();
const ShapeLearnerDescription& shape_learner_gradient();
const ShapeLearnerDescription& shape_learner_stochastic();

std::vector<const ShapeLearnerDescription*> shape_learners() {
  return {&shape_learner_differences(), &shape_learner_gradient(), &shape_learner_stochastic()};
}

const ShapeLearnerDescription& find_shape_learner(const std::string& name) {
  std::vector<std::string> names;
  for (const ShapeLearnerDescription* each : shape_learners()) {
    if (each->name == name) return *each;
    names.push_back(each->name);
  }
  throw Error("unknown learner of shapes '{}'{}; known: {}", name, did_you_mean(name, names), fmt::join(names, ", "));
}

}  // namespace tidepool
