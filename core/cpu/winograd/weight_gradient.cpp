#include "core/cpu/winograd/weight_gradient.h"

#include "core/cpu/winograd/convolve_parts.h"

namespace tidepool::winograd {

void weight_gradient_map(int m, const Problem& p, const MakeTiledMap& x, const MakeTiledMap& dy, float* dw) {
  weight_gradient<Register>(m, p, x, dy, dw);
}

}  // namespace tidepool::winograd
