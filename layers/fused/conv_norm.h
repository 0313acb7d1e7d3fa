// Convolution, batch norm and activation as one operator: where the convolution is ours, statistics are gathered while
// it stores its result, the norm is applied where the next operator reads, and its gradient where the convolution's
// gradients read. So the map between norm and next operator is not kept, and by Winograd behind a ReLU, and by
// depthwise convolutions behind any activation, never written; others (pointwise) read a copy made for the call. The
// same numbers as `convolution` and `batch_norm` one after the other, to rounding; those two stay as its test.
#pragma once
#include "layers/conv.h"
#include "layers/fused/normed_map.h"
#include "layers/norm.h"

namespace tidepool {

/// Tensors of the operator, as convolution() and batch_norm() have them; bias may be undefined.
struct ConvNorm {
  Tensor weight, bias, gamma, beta, running_mean, running_var;
};

/// Whether the operator does the case: 2-D maps of f32 or bf16, channels-last, of more than one number per image, and
/// weights of f32. Otherwise take the two operators one after the other.
bool conv_norm_serves(const NormedMap& x, const ConvNorm& p);

/// act(batch_norm(convolution(x))), act being norm.act. Without a tape and with running statistics the norm is applied
/// as the convolution stores its result, or behind it. Keeps x (before its own norm), the convolution's result and 5 C
/// numbers. Throws Error("[conv] ...") and Error("[batch_norm] ...").
NormedMap conv_norm(const NormedMap& x, const ConvNorm& p, const ConvOptions& conv, const BatchNormOptions& norm);

}  // namespace tidepool
