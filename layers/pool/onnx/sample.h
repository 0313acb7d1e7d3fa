// Samples between the pixels of an axis, as forms take them.
#pragma once
#include <vector>

#include "layers/pool/onnx/form.h"
#include "layers/pool/sampling.h"

namespace tidepool::pool_onnx {

/// x[low] + fraction (x[high] - x[low]) along an axis of a map of that rank.
onnx::Value sampled(const onnx::Value& x, int rank, int axis, const std::vector<Sample>& samples);

}  // namespace tidepool::pool_onnx
