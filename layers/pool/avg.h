// Means of windows, for the operators that are made of them.
#pragma once
#include "layers/pool/compiled_for.h"
#include "layers/pool/geometry.h"

namespace tidepool::inline TP_COMPILED_FOR {

/// y (set) = the mean of every window of x; no window may have an absent element.
void avg_forward(const WindowGeometry& g, const Tensor& x, const Tensor& y);
/// dx (set).
void avg_backward(const WindowGeometry& g, const Tensor& dy, const Tensor& dx);

}  // namespace tidepool::inline TP_COMPILED_FOR
