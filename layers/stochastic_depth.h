// Stochastic depth (Huang et al., ECCV 2016), as torchvision's StochasticDepth(p, "row") while training.
#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace tidepool {

/// y = x / (1 - p) for an image whose branch is kept, which happens with probability 1 - p, else 0 x. x [N, ...]. Image
/// n draws number n of the Philox stream that `step` names under `seed`, whatever the memory format, type and number of
/// threads; two layers of a network need different seeds. Nothing is kept: the backward draws again. `counter`: as in
/// MaskDraw. p in [0, 1), else Error("[stochastic_depth] ...").
Tensor stochastic_depth(const Tensor& x, double p, uint64_t seed, uint64_t step, const Tensor& counter = {});

}  // namespace tidepool
