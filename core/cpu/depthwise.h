// Depthwise convolutions (a group a channel), 3x3 and 5x5, strides 1 and 2, on channels-last maps on the CPU. Ours,
// since they are faster than oneDNN 2.6's: on EfficientNet-B0's shapes forward 0.8 to 2.4 times (median 1.25), backward
// data 0.9 to 3.3 (1.7), weights 3x3 0.8 to 1.5 (1.05) and 5x5 4 to 13 (5.5) in f32; bf16 1.1 to 2.5, weights 5x5 over
// 30 (two cores of a Sapphire Rapids, batches of 64 and 128). Where the library is ahead it is by little, so the rule
// is that all are ours.
#pragma once
#include "core/backend/fused_conv.h"

namespace tidepool::depthwise {

/// Whether the case is one of ours: two spatial axes, kernel 3 or 5, stride 1 or 2 on both, dilation 1, paddings below
/// the kernel, as many groups and outputs as channels, dense channels-last maps of f32 or bf16, weights and bias of
/// f32.
bool serves(const Tensor& map, const Tensor& w, const ConvOptions& o);

/// Results of a backward, set where they are defined.
struct Gradients : ConvGradients {
  Tensor dbias{};
};

/// As FusedConvTable's functions, for cases that `serves` is true of; without fusion as ConvTable's. x may be undefined
/// where neither dw nor sums are wanted. Every order of summation depends on the shapes alone.
void forward(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y,
             const ForwardFusion& fusion = {});
void backward(const Tensor& x, const NormAct& read, const Tensor& dz, const GradientFusion& fusion, const Tensor& w,
              const ConvOptions& o, const Gradients& gradients);

}  // namespace tidepool::depthwise
