// Maxima of windows, for the operators that are made of them.
#pragma once
#include "layers/pool/behind_norm.h"
#include "layers/pool/compiled_for.h"
#include "layers/pool/geometry.h"

namespace tidepool::inline TP_COMPILED_FOR {

/// y (set) = the maximum of every window of x; with `winners` (window::empty_winners), the first largest element's
/// index. x may lie behind a norm where window::reads_behind_norm(g).
void max_forward(const WindowGeometry& g, const Tensor& x, const Tensor& y, const Tensor& winners,
                 const window::Unwritten& norm = {});
/// dx (set): dy at the winners, else 0. x, and what is behind it, for the norm's sums alone.
void max_backward(const WindowGeometry& g, const Tensor& winners, const Tensor& dy, const Tensor& dx,
                  const Tensor& x = {}, const window::Unwritten& norm = {});

}  // namespace tidepool::inline TP_COMPILED_FOR
