// 3x3 convolutions of stride 1 by Winograd's minimal filtering, on channels-last maps on the CPU: ours, since it is a
// multiple faster than the library. filter.h and weight_gradient.h have the way of a convolution.
#pragma once
#include "core/backend/caches.h"
#include "core/backend/fused_conv.h"

namespace tidepool {

/// The m of F(m x m, 3x3) that is expected to be fastest for a 3x3 convolution of stride 1 of a map (N, C, H, W), in
/// all three directions: 4, 2, or 0 when the library is faster. A fixed rule of the shapes.
int winograd_size(const Dims& map, const Dims& weight, const ConvOptions& o);

}  // namespace tidepool

namespace tidepool::winograd {

/// Whether the case is one of ours: two spatial axes, 3x3, stride and dilation 1, one group, paddings 0 to 2, dense
/// channels-last maps of f32 or bf16, weights and bias of f32.
bool serves(const Tensor& map, const Tensor& w, const ConvOptions& o);

using tidepool::ForwardFusion;
using tidepool::GradientFusion;
using tidepool::NormAct;
using tidepool::ResultMoments;

/// As core/backend/conv.h's functions, by F(m x m, 3x3): m is 2, or 4 for tiles that suit the map's sides (tiling.h).
/// The sums' order does not depend on the number of threads. Errors against f64, over the largest value of the result:
/// about 1e-6 (m = 2) and 1e-5 (m = 4).
void conv_forward(int m, const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y,
                  const ForwardFusion& fusion = {});
void conv_backward_data(int m, const Tensor& dz, const Tensor& w, const ConvOptions& o, const Tensor& dx,
                        const GradientFusion& fusion = {});
/// `read`: of x. dbias (or undefined) is the sum of dz: without fusion only.
void conv_backward_weights(int m, const Tensor& x, const Tensor& dz, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias, const NormAct& read = {}, const GradientFusion& fusion = {});

/// The transformed weights that evaluation keeps from batch to batch.
void forget_weights();
void add_to(CacheStats& stats);

}  // namespace tidepool::winograd
