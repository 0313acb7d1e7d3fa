// The head's average.
#pragma once
#include "core/tensor.h"

namespace tidepool {

/// x [N, C, spatial], 1 to 3 spatial axes of at least one position -> its mean over the positions [N, C]. Keeps
/// nothing. Throws Error("[global_avg] ...").
Tensor global_avg(const Tensor& x);

}  // namespace tidepool
