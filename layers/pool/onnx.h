// Pooling operators as ONNX: standard operators that compute in evaluation what an operator does, at the size that it
// has learned. The forms stand in layers/pool/onnx/.
#pragma once
#include <span>
#include <string>

#include "core/json.h"
#include "core/onnx.h"
#include "layers/pool/operator.h"

namespace tidepool {

/// Whether an operator of that name can be exported.
bool has_onnx_form(const std::string& name);

/// The operator of `config` ({"type": "soft", ...}, of which `op` was made) on x, a map of `shape` with any batch.
/// Throws Error("[soft] ...") where it has no form.
onnx::Value pool_as_onnx(onnx::Graph& graph, const onnx::Value& x, const Dims& shape, const Json& config,
                         const PoolOperator& op, std::span<const Tensor> parameters);

}  // namespace tidepool
