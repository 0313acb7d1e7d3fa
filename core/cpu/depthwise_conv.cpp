// Our own depthwise convolutions as tables: whatever they serve is theirs, in all three directions, by itself and with
// the batch norm and activation around it.
#include "core/cpu/depthwise.h"
#include "core/cpu/tables.h"
#include "core/observer.h"

namespace tidepool {
namespace {

// Both maps: one of a single position is contiguous in both formats, so it does not tell the format of the other.
bool serves(const Tensor& x, const Tensor& y, const Tensor& w, const ConvOptions& o) {
  return depthwise::serves(x, w, o) && y.is_contiguous(MemoryFormat::channels_last);
}

bool forward(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y) {
  const bool ours = serves(x, y, w, o);
  if (ours) depthwise::forward(x, w, bias, o, y);
  return ours;
}

bool backward_data(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx) {
  const bool ours = serves(dx, dy, w, o);
  if (ours) depthwise::backward({}, {}, dy, {}, w, o, {{.dx = dx}, {}});
  return ours;
}

bool backward_weights(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw, const Tensor& dbias) {
  const bool ours = serves(x, dy, dw, o);
  if (ours) depthwise::backward(x, {}, dy, {}, dw, o, {{.dw = dw}, dbias});
  return ours;
}

}  // namespace

const ConvTable cpu::kDepthwiseConv{
    .name = "depthwise", .forward = forward, .backward_data = backward_data, .backward_weights = backward_weights};

const FusedConvTable cpu::kFusedDepthwise{
    .name = "depthwise",
    .choose = [](const Tensor& x, const Tensor& w, const ConvOptions& o) { return depthwise::serves(x, w, o) ? 1 : 0; },
    .applies = norm::serves,
    .gives_sums = true,
    .forward = [](int, const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y,
                  const ForwardFusion& fusion) { depthwise::forward(x, w, bias, o, y, fusion); },
    .backward =
        [](int, const Tensor& x, const NormAct& read, const Tensor& dz, const GradientFusion& fusion, const Tensor& w,
           const ConvOptions& o, const ConvGradients& gradients) {
          depthwise::backward(x, read, dz, fusion, w, o, {gradients, {}});
          end_span("depthwise backward", {x, dz, fusion.y, gradients.dx, w}, 2 * direct_multiply_adds(dz, w));
        }};

}  // namespace tidepool
