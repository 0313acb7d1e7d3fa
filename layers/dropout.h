// Dropout (Srivastava et al., JMLR 2014), scaled while training as torch.nn.Dropout.
#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace tidepool {

/// y = x / (1 - p) with probability 1 - p, else 0 x. Element (n, c, position) draws number (n positions + position) C +
/// c of the Philox stream that `step` names under `seed`, whatever the memory format, type and number of threads; two
/// layers of a network need different seeds. Nothing is kept: the backward draws again. `counter`: as in MaskDraw. p in
/// [0, 1), else Error("[dropout] ...").
Tensor dropout(const Tensor& x, double p, uint64_t seed, uint64_t step, const Tensor& counter = {});

}  // namespace tidepool
