// Convolutions and matrix products: one small table of functions a library. On the CPU our own kernels do the 3x3
// convolutions for which Winograd is faster, the depthwise ones and those of f64, oneDNN the rest of f32 and bf16; the
// naive reference does every type and is what the tests compare with. Nothing is recorded here: layers/ does that.
// Gradients are set, not added.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace tidepool {

/// Index 0 .. rank-1 of an array is a spatial axis, in the order of the shape.
struct ConvOptions {
  std::array<int64_t, 3> stride{1, 1, 1}, padding{0, 0, 0}, dilation{1, 1, 1};
  int64_t groups = 1;
  bool exact = false;  ///< direct sums only: no Winograd, whose rounding errors are larger
};

/// What a library does. Each function returns false, having written nothing, when it does not do such a case.
///
/// x, y, dx, dy: [N, C, spatial] of 1 to 3 spatial axes, dense, all of one format and type. Weights: [O, C/groups,
/// k...], dense and plain, of x's type, or f32 with bf16 maps; bias [O] of the weights' type, or undefined.
struct DnnTable {
  const char* name;
  bool (*conv_forward)(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y);
  bool (*conv_backward_data)(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx);
  /// dbias may be undefined.
  bool (*conv_backward_weights)(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw,
                                const Tensor& dbias);
  /// y = a b + bias: a [M, K], b [K, N], y [M, N] dense; a and b may be transposed views. a and b of one type, y of
  /// that type or f32 (bf16 products); bias [N] f32 or y's type, or undefined.
  bool (*matmul)(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& y);
};

/// core/winograd/, where winograd_size() says that it pays.
const DnnTable& winograd_table();
/// core/depthwise.h.
const DnnTable& depthwise_table();
const DnnTable& onednn_table();
/// Dense channels-last maps of f64, one group.
const DnnTable& direct_f64_table();
const DnnTable& reference_table();

/// The m of F(m x m, 3x3) that is expected to be fastest for a 3x3 convolution of stride 1 of a map (N, C, H, W), in
/// all three directions: 4, 2, or 0 when the library is faster. A fixed rule of the shapes.
int winograd_size(const Dims& map, const Dims& weight, const ConvOptions& o);

// The first table that does the case: Winograd, depthwise, oneDNN, direct f64, then the reference (said once in the log
// when the type is not f64). Empty batches and empty sums are done here.
void conv_forward(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y);
void conv_backward_data(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx);
void conv_backward_weights(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias);
void matmul(const Tensor& a, const Tensor& b, const Tensor& bias, const Tensor& y);

/// "oneDNN 2.6.3 (avx512_core_bf16)": the library at run time and the instructions that it uses.
std::string dnn_version();

/// Sizes of the bounded caches: primitives by shape, transformed weights by (storage, version).
struct DnnCacheStats {
  int64_t primitives = 0, primitives_made = 0;
  int64_t weights = 0, weight_bytes = 0;
};
DnnCacheStats dnn_cache_stats();

/// Drops the transformed weights: those of a network that is gone would count as memory of the next.
void dnn_forget_weights();

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
/// beforehand (no reorder is among what runs). Throws Failure when oneDNN refuses a case.
std::vector<ConvKernels> onednn_convolutions(std::span<const ConvCase> cases, DType dtype, MemoryFormat format);

/// Seconds of oneDNN's pooling: a forward for inference, and a training forward with its backward; medians of
/// `repeats`.
struct PoolSeconds {
  double forward = 0, both = 0;
};
/// Windows of 2 on each axis, side by side, over maps of shape x (N, C, 1 to 3 lengths of at least 2): their maximum,
/// else their mean. None when oneDNN does not do this type on this machine.
std::optional<PoolSeconds> time_onednn_pooling(bool max, const Dims& x, DType dtype, MemoryFormat format, int repeats);

}  // namespace tidepool
