#include "layers/fused/pool.h"

namespace tidepool {

Tensor pool_forward(const PoolOperator& op, const NormedMap& x, std::span<const Tensor> parameters,
                    const PoolMode& mode) {
  if (!x.written())
    if (const auto* reader = dynamic_cast<const ReadsNorm*>(&op))
      if (const Tensor y = reader->forward_through_norm(x, parameters, mode)) return y;
  return op.forward(x.tensor(), parameters, mode);
}

}  // namespace tidepool
