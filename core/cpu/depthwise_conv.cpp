// Our own depthwise convolutions as a table: whatever they serve is theirs, in all three directions.
#include "core/cpu/depthwise.h"
#include "core/cpu/tables.h"

namespace tidepool {
namespace {

bool forward(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y) {
  const bool ours = depthwise::serves(x, w, o);
  if (ours) depthwise::conv_forward(x, w, bias, o, y);
  return ours;
}

bool backward_data(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx) {
  const bool ours = depthwise::serves(dx, w, o);
  if (ours) depthwise::conv_backward_data(dy, w, o, dx);
  return ours;
}

bool backward_weights(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw, const Tensor& dbias) {
  const bool ours = depthwise::serves(x, dw, o);
  if (ours) depthwise::conv_backward_weights(x, dy, o, dw, dbias);
  return ours;
}

}  // namespace

const ConvTable cpu::kDepthwiseConv{
    .name = "depthwise", .forward = forward, .backward_data = backward_data, .backward_weights = backward_weights};

}  // namespace tidepool
