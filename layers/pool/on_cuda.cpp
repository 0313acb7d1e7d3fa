#include "layers/pool/on_cuda.h"

namespace tidepool {

#define TP_POOL_OPERATOR(name, file) const PoolDescription& pool_##name();
namespace on_cuda {
#include "layers/pool/operators.inc"
}
#undef TP_POOL_OPERATOR

const PoolDescription* pool_operator_on_cuda(const std::string& name) {
#define TP_POOL_OPERATOR(pool, file) \
  if (name == #pool) return &on_cuda::pool_##pool();
#include "layers/pool/operators.inc"
#undef TP_POOL_OPERATOR
  return nullptr;
}

}  // namespace tidepool
