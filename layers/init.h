// Initial values of parameters, and the bounds that they are brought back into.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "core/tensor.h"

namespace tidepool {

/// Fills a plain tensor with normals of mean 0: a function of the seed alone, rounded to f32 in every type.
std::function<void(const Tensor&, uint64_t seed)> normal_init(double deviation);
/// Uniform in [-bound, bound): a function of the seed alone, rounded to f32 in every type.
std::function<void(const Tensor&, uint64_t seed)> uniform_init(double bound);
/// Of deviation sqrt(2 / fan_out), as torchvision initialises its VGG (He et al. 2015).
std::function<void(const Tensor&, uint64_t seed)> he_normal(double fan_out);
/// Fills a tensor with one number, or a vector with one number per entry.
std::function<void(const Tensor&, uint64_t seed)> constant_init(double value);
std::function<void(const Tensor&, uint64_t seed)> constant_init(std::vector<double> values);

/// Brings every entry of a vector into [low, high] of its own; NaN stays. Marks the tensor written when one moved.
void project_onto(const Tensor& parameter, const std::vector<double>& low, const std::vector<double>& high);

}  // namespace tidepool
