// Our own 3x3 convolutions as tables: by themselves, and with the batch norm and ReLU around them.
#include "core/cpu/tables.h"
#include "core/cpu/winograd/convolve.h"
#include "core/observer.h"

namespace tidepool {
namespace {

// Of maps x (or dx) and y (or dy). Both: one of a single channel or position is contiguous in both formats, so it
// does not tell the format of the other.
int size_for(const Tensor& x, const Tensor& y, const Tensor& w, const ConvOptions& o) {
  if (o.exact || !winograd::serves(x, w, o) || !y.is_contiguous(MemoryFormat::channels_last)) return 0;
  return winograd_size(x.shape(), w.shape(), o);
}

bool forward(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y) {
  const int m = size_for(x, y, w, o);
  if (m != 0) winograd::conv_forward(m, x, w, bias, o, y);
  return m != 0;
}

bool backward_data(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx) {
  const int m = size_for(dx, dy, w, o);
  if (m != 0) winograd::conv_backward_data(m, dy, w, o, dx);
  return m != 0;
}

bool backward_weights(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw, const Tensor& dbias) {
  const int m = size_for(x, dy, dw, o);
  if (m != 0) winograd::conv_backward_weights(m, x, dy, o, dw, dbias);
  return m != 0;
}

int choose(const Tensor& x, const Tensor& w, const ConvOptions& o) {
  return size_for(x, x, w, o);
}

bool applies(Act act) {
  return act == Act::relu;
}

void fused_backward(int m, const Tensor& x, const NormAct& read, const Tensor& dz, const GradientFusion& fusion,
                    const Tensor& w, const ConvOptions& o, const ConvGradients& gradients) {
  if (gradients.dx) {
    winograd::conv_backward_data(m, dz, w, o, gradients.dx, fusion);
    end_span("convolution backward data", {dz, fusion.y, w, gradients.dx}, direct_multiply_adds(dz, w));
  }
  winograd::conv_backward_weights(m, x, dz, o, gradients.dw, {}, read, fusion);
  end_span("convolution backward weights", {x, dz, fusion.y, w}, direct_multiply_adds(dz, w));
}

}  // namespace

const ConvTable cpu::kWinogradConv{
    .name = "Winograd", .forward = forward, .backward_data = backward_data, .backward_weights = backward_weights};
const FusedConvTable cpu::kFusedWinograd{.name = "Winograd",
                                         .choose = choose,
                                         .applies = applies,
                                         .gives_sums = false,
                                         .forward = winograd::conv_forward,
                                         .backward = fused_backward};

}  // namespace tidepool
