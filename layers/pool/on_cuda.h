// The pooling operators as their kernels for a GPU are compiled (compiled_for.h). A build without CUDA has none; the
// linker takes on_cuda.cpp or on_cuda_absent.cpp.
#pragma once
#include <string>

#include "layers/pool/operator.h"

namespace tidepool {

/// nullptr: there is none of that name.
const PoolDescription* pool_operator_on_cuda(const std::string& name);

}  // namespace tidepool
