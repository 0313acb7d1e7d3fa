// What the rest of core/cpu/ needs of oneDNN beside its tables, without the library's types.
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "core/backend/caches.h"
#include "core/backend/conv.h"

namespace tidepool::onednn {

/// "oneDNN 2.6.3 (avx512_core_bf16)"
std::string version();
/// The weights kept in the library's layouts.
void forget_weights();
void add_to(CacheStats& stats);

enum class Direction { forward, backward_data, backward_weights };

/// One direction of a convolution as the library's direct primitive, weights (or their gradient) in its own layout.
struct DirectConv {
  size_t weight_bytes;
  /// Forward: x, weights, y; backward data: dy, weights, dx; backward weights: x, dy, dw.
  std::function<void(const Tensor&, const Tensor&, const Tensor&)> run;
};
/// Maps of `dtype` and weights of that type; the gradient of weights is f32. None when the library refuses the case.
std::optional<DirectConv> direct_conv(Direction direction, const Dims& x, const Dims& w, const Dims& y,
                                      const ConvOptions& o, DType dtype, MemoryFormat format);

/// Pooling with windows of 2 on each axis, side by side: maximum or mean.
struct PoolOfTwo {
  size_t workspace_bytes;
  std::function<void(const Tensor& x, const Tensor& y)> inference;
  std::function<void(const Tensor& x, const Tensor& y, const Tensor& workspace)> training;
  std::function<void(const Tensor& dy, const Tensor& dx, const Tensor& workspace)> backward;
};
/// f32 or bf16; none when the library does not do this type on this machine.
std::optional<PoolOfTwo> pool_of_two(bool max, const Dims& x, const Dims& y, DType dtype, MemoryFormat format);

}  // namespace tidepool::onednn
