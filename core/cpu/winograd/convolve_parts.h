// The parts that convolve.cpp joins, each a source of its own: together they take minutes to compile.
#pragma once
#include "core/cpu/winograd/filter.h"
#include "core/cpu/winograd/schedule.h"

namespace tidepool::winograd {

/// A register's worth of f32.
#if defined(__AVX512F__)
using Register = tidepool::detail::VectorOf<float, 16>::type;
#elif defined(__AVX__)
using Register = tidepool::detail::VectorOf<float, 8>::type;
#else
using Register = tidepool::detail::VectorOf<float, 4>::type;
#endif

/// The input transform of x, a map of f32 or bf16, read through `norm` when there is one.
MakeTiledMap input_map(const Tensor& x, const NormAct& norm);
/// The input transform of a result's gradient, as backward_data reads it.
MakeTiledMap input_map(const Tensor& dz, const GradientFusion& fusion);
/// The transposed output transform of a result's gradient, as the gradient of the weights reads it.
MakeTiledMap gradient_map(const Tensor& dz, const GradientFusion& fusion);

/// filter() and weight_gradient() with registers; y is of f32 or bf16.
void filter_map(int m, const FilterProblem& problem, const MakeTiledMap& source, const Tensor& w, const Tensor& y,
                const Tensor& bias, const NormAct& norm, ResultMoments* moments);
void weight_gradient_map(int m, const Problem& p, const MakeTiledMap& x, const MakeTiledMap& dy, float* dw);

/// The three rows of a norm's constants; none where there is no norm. Its activation is ReLU.
Norm norm_of(const NormAct& norm);

}  // namespace tidepool::winograd
