// 3x3 convolutions of stride 1 by Winograd's minimal filtering, on channels-last maps on the CPU: ours, since it is a
// multiple faster than the library. filter.h and weight_gradient.h have the way of a convolution.
#pragma once
#include "core/dnn.h"

namespace tidepool::winograd {

/// Whether the case is one of ours: two spatial axes, 3x3, stride and dilation 1, one group, paddings 0 to 2, dense
/// channels-last maps of f32 or bf16, weights and bias of f32.
bool serves(const Tensor& map, const Tensor& w, const ConvOptions& o);

/// A batch norm and ReLU that a convolution applies on its way: f32 [3, C], rows mean, scale, shift of
/// max(0, (v - mean) scale + shift). Undefined: none.
using NormConstants = Tensor;

/// Moments of a result, gathered while it is stored, by chunk: parts f64 [chunks, 2, C], mean and sum of squares about
/// it; counts f64 [chunks].
struct ResultMoments {
  Tensor parts, counts;
};

/// How the forward reads x and what it does with y.
struct ForwardFusion {
  NormConstants read{};              ///< of x
  NormConstants write{};             ///< of y
  ResultMoments* moments = nullptr;  ///< of y as it is stored
};

/// The gradient dy of a result y that a batch norm and ReLU follow, formed from dz behind the ReLU where it is read:
/// dy = scale g + (y - mean) slope + offset, g = dz where the norm is over 0. Undefined y: dz is dy itself.
struct GradientFusion {
  Tensor y;
  NormConstants constants;
  Tensor line;  ///< f32 [2, C]: slope, offset
};

/// As core/dnn.h's functions, by F(m x m, 3x3): m is 2, or 4 for tiles that suit the map's sides (tiling.h). The sums'
/// order does not depend on the number of threads.
/// Errors against f64, over the largest value of the result: about 1e-6 (m = 2) and 1e-5 (m = 4).
void conv_forward(int m, const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y,
                  const ForwardFusion& fusion = {});
void conv_backward_data(int m, const Tensor& dz, const Tensor& w, const ConvOptions& o, const Tensor& dx,
                        const GradientFusion& fusion = {});
/// `read`: of x. dbias (or undefined) is the sum of dz: without fusion only.
void conv_backward_weights(int m, const Tensor& x, const Tensor& dz, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias, const NormConstants& read = {}, const GradientFusion& fusion = {});

}  // namespace tidepool::winograd
