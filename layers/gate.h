// A map times one number per image and channel: squeeze-excitation (Hu, Shen & Sun, CVPR 2018).
#pragma once
#include "core/tensor.h"

namespace tidepool {

/// y = x s: x [N, C, spatial], 1 to 3 spatial axes, and s [N, C] or [N, C, 1, ...] of x's rank, of one type. y has x's
/// memory format. Keeps x and s. Throws Error("[gate] ...").
Tensor gate(const Tensor& x, const Tensor& s);

}  // namespace tidepool
