#include "core/find_named.h"
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
  return find_named(shape_learners(), name, "unknown learner of shapes");
}

}  // namespace tidepool
