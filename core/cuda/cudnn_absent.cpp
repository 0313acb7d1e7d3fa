// Stands in for core/cuda/cudnn.cpp in a build whose machine had no cuDNN.
#include "core/cuda/cudnn.h"
#include "core/error.h"

namespace tidepool::cudnn {

std::string problem() {
  return "this build has no cuDNN: its header cudnn.h (version 9 or later) was not found when it was configured";
}
std::string version() {
  return "";
}
std::string ConvCase::str() const {
  return name_of(direction);
}
std::shared_ptr<CudnnConvPlan> find_plan(const ConvCase&) {
  throw Error("convolutions on cuda: {}", problem());
}
void run(CudnnConvPlan&, const Tensor&, const Tensor&, const Tensor&) {
  throw Error("convolutions on cuda: {}", problem());
}
void forget_plans() {}
void add_to(CacheStats&) {}
PlanReport plan_for_device(const ConvCase&, const std::string&) {
  throw Failure("cuDNN: {}", problem());
}

}  // namespace tidepool::cudnn
