// Convolutions. On the CPU our own kernels do the 3x3 convolutions for which Winograd is faster, the depthwise ones and
// those of f64, oneDNN the rest of f32 and bf16; the naive reference does every type. Nothing is recorded here: layers/
// does that. Gradients are set, not added.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "core/backend/table.h"

namespace tidepool {

/// Index 0 .. rank-1 of an array is a spatial axis, in the order of the shape.
struct ConvOptions {
  std::array<int64_t, 3> stride{1, 1, 1}, padding{0, 0, 0}, dilation{1, 1, 1};
  int64_t groups = 1;
  bool exact = false;  ///< direct sums only: no Winograd, whose rounding errors are larger
};

/// x, y, dx, dy: [N, C, spatial] of 1 to 3 spatial axes, dense, all of one format and type. Weights: [O, C/groups,
/// k...], of x's type, or f32 with bf16 maps, dense and plain, or as prepared_weights gives them; bias [O] of the
/// weights' type or f32, or undefined.
struct ConvTable {
  const char* name;
  bool (*forward)(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y);
  bool (*backward_data)(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx);
  /// dbias may be undefined.
  bool (*backward_weights)(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias);
};

/// Multiply-adds of the direct algorithm, the same in all three directions.
inline double direct_multiply_adds(const Tensor& y, const Tensor& w) {
  return static_cast<double>(y.numel()) * static_cast<double>(w.numel() / std::max<int64_t>(1, w.size(0)));
}

/// Kinds of work of a convolution, by its weights and groups: "depthwise ...", "pointwise ..." or "convolution ...".
struct ConvKinds {
  const char *forward, *backward_data, *backward_weights;
};
ConvKinds conv_kinds(const Tensor& w, const ConvOptions& o);

// Empty batches and empty sums are done here. Where the reference does a case of another type than f64, the log says so
// once.
void conv_forward(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y);
void conv_backward_data(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx);
void conv_backward_weights(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias);

namespace backend {
template <>
std::span<const ConvTable* const> tables<ConvTable>(Device device);
}

}  // namespace tidepool
