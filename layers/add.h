// The sum of two maps: where a residual branch joins.
#pragma once
#include "core/tensor.h"

namespace tidepool {

/// y = a + b of one shape and type, in a's memory format. Keeps nothing: both gradients are dy itself.
/// Throws Error("[add_maps] ...").
Tensor add_maps(const Tensor& a, const Tensor& b);

}  // namespace tidepool
