// Small tables that operators and their ONNX forms (layers/pool/onnx/) are both made of.
#pragma once
#include <cstdint>
#include <vector>

#include "layers/pool/fourier.h"
#include "layers/pool/sampling.h"

namespace tidepool {

/// blur: row k of Pascal's triangle over its sum.
std::vector<double> binomial_taps(int64_t k);

/// fractional_max: start of window i of m on an axis of n positions, kernel k, for u = 1/2; in integers.
int64_t middle_start(int64_t n, int64_t m, int64_t k, int64_t i);

/// shape_adaptor: align_corners; output o samples o (n - 1) / (m - 1), the only one of m = 1 the first pixel.
std::vector<Sample> corner_samples(int64_t n, int64_t m);

/// diffstride: the argument of the mask's clamp at frequency k of an axis of n positions.
double mask_argument(int64_t n, double stride, double smoothness, int64_t k);
/// What the mask keeps of such an axis, which is left with m.
Spectrum masked_spectrum(int64_t n, int64_t m, double stride, double smoothness);

}  // namespace tidepool
