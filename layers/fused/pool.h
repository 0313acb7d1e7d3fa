// Pooling of a map whose norm may not be written.
#pragma once
#include <span>

#include "layers/fused/normed_map.h"
#include "layers/pool/operator.h"

namespace tidepool {

/// op's forward of the map that x stands for: through the norm where op reads these shapes so, else the norm is
/// written.
Tensor pool_forward(const PoolOperator& op, const NormedMap& x, std::span<const Tensor> parameters,
                    const PoolMode& mode);

}  // namespace tidepool
