// Our own depthwise convolutions as a table of core/dnn.h.
#include "core/depthwise.h"
#include "core/dnn.h"

namespace tidepool {

const DnnTable& depthwise_table() {
  static const DnnTable table{
      "depthwise", [](const Tensor&, const Tensor&, const Tensor&, const ConvOptions&, const Tensor&) { return false; },
      [](const Tensor&, const Tensor&, const ConvOptions&, const Tensor&) { return false; },
      [](const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw, const Tensor& dbias) {
        if (!depthwise::serves(x, dw, o)) return false;
        depthwise::conv_backward_weights(x, dy, o, dw, dbias);
        return true;
      },
      [](const Tensor&, const Tensor&, const Tensor&, const Tensor&) { return false; }};
  return table;
}

}  // namespace tidepool
