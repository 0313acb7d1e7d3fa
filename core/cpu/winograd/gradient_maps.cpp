#include "core/cpu/winograd/source_maps.h"

namespace tidepool::winograd {

MakeTiledMap gradient_map(const Tensor& dz, const GradientFusion& fusion) {
  return result_gradient_map<true>(dz, fusion);
}

}  // namespace tidepool::winograd
