// What `tidepool bench` runs of oneDNN beside our own kernels.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "core/backend/conv.h"

namespace tidepool {

/// One convolution of a network, for the benchmark.
struct ConvCase {
  Dims x, weight;
  ConvOptions options;
  bool needs_dx = true;  ///< false for a network's first layer

  Dims y() const;
};
/// What one convolution runs in a training step; nothing where a direction is not needed.
struct ConvKernels {
  std::function<void()> forward, backward_data, backward_weights;
};
/// oneDNN's direct convolutions alone, each on maps of its own in `format`, weights in the library's own layout
/// beforehand (no reorder is among what runs). None when oneDNN refuses a case, as it does bf16 on a processor without
/// instructions for it.
std::optional<std::vector<ConvKernels>> onednn_convolutions(std::span<const ConvCase> cases, DType dtype,
                                                            MemoryFormat format);

/// Seconds of oneDNN's pooling: a forward for inference, and a training forward with its backward; medians of
/// `repeats`.
struct PoolSeconds {
  double forward = 0, both = 0;
};
/// Windows of 2 on each axis, side by side, over maps of shape x (N, C, 1 to 3 lengths of at least 2): their maximum,
/// else their mean. None when oneDNN does not do this type on this machine.
std::optional<PoolSeconds> time_onednn_pooling(bool max, const Dims& x, DType dtype, MemoryFormat format, int repeats);

}  // namespace tidepool
