// Elementwise arithmetic that core itself needs (sums of gradients). No history is recorded here.
#pragma once
#include "core/tensor.h"

namespace tidepool {

/// a + b of one shape, in the type and format of a.
Tensor add(const Tensor& a, const Tensor& b);

/// Whether every element is finite.
bool all_finite(const Tensor& x);

}  // namespace tidepool
