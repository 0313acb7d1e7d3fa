// Maxima of windows, for the operators that are made of them.
#pragma once
#include "layers/pool/geometry.h"
#include "layers/pool/pass.h"

namespace tidepool::inline TP_PASS {

/// y (set) = the maximum of every window of x; with `winners` (window::empty_winners), the first largest element's
/// index.
void max_forward(const WindowGeometry& g, const Tensor& x, const Tensor& y, const Tensor& winners);
/// dx (set): dy at the winners, else 0.
void max_backward(const WindowGeometry& g, const Tensor& winners, const Tensor& dy, const Tensor& dx);

}  // namespace tidepool::inline TP_PASS
