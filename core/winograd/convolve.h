// 3x3 convolutions of stride 1 by Winograd's minimal filtering, on channels-last maps on the CPU: ours, since it is a
// multiple faster than the library. convolve.cpp chooses the vectors, drivers.h has the way of a convolution.
#pragma once
#include "core/dnn.h"

namespace tidepool::winograd {

/// Whether the case is one of ours: two spatial axes, 3x3, stride and dilation 1, one group, paddings 0 to 2, dense
/// channels-last maps of f32 or bf16, weights and bias of f32.
bool serves(const Tensor& map, const Tensor& w, const ConvOptions& o);

/// As core/dnn.h's functions, by F(m x m, 3x3): m is 2 or 4. The sums' order does not depend on the number of threads.
/// Errors against f64, over the largest value of the result: about 1e-6 (m = 2) and 1e-5 (m = 4).
void conv_forward(int m, const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y);
void conv_backward_data(int m, const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx);
void conv_backward_weights(int m, const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias);

}  // namespace tidepool::winograd
