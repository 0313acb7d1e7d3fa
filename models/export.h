// The pass that exports a graph: every node as standard ONNX operators, at the sizes that its slots have learned.
#pragma once
#include <optional>
#include <vector>

#include "core/onnx.h"
#include "models/network.h"

namespace tidepool {

/// One number per channel: a pixel's x (0 to 1) is seen as (x - mean) / stddev.
struct PixelNormalisation {
  std::vector<double> mean, stddev;
};

/// Adds the network in evaluation to an empty graph: "input", images (batch, C, H, W) as the network sees them, or with
/// `first` in [0, 1], and "logits", its output. Weights keep their names, numbers are f32. Throws Error naming the
/// layer that has no ONNX form.
void export_onnx(const Network& network, onnx::Graph& graph, const std::optional<PixelNormalisation>& first = {});

}  // namespace tidepool
