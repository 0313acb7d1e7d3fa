// The arithmetic of the stand-ins for libraries: convolutions over any strides. Sums of f32, bf16 and f16 are f32,
// those of f64 are f64.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace simulated {

/// N (or O), C, three spatial axes, missing ones of length 1 in front; strides in elements.
struct Map {
  std::array<int64_t, 5> n{1, 1, 1, 1, 1}, stride{};
  tidepool::DType type = tidepool::DType::f32;
  int64_t uid = 0, alignment = 1;

  /// Elements from the first to behind the last.
  int64_t span() const;
};

struct Convolution {
  enum Direction { kForward, kBackwardData, kBackwardWeights } direction = kForward;
  Map x, w, y;
  std::array<int64_t, 3> step{1, 1, 1}, padding{0, 0, 0}, dilation{1, 1, 1};
  bool flipped = false;  ///< CUDNN_CONVOLUTION: taps in reverse order
  bool tf32 = false;     ///< factors of f32 are rounded to 10 bits of mantissa
  int64_t workspace_bytes = 0;
  float wobble = 0;  ///< relative error of the results

  /// Pointers to the elements of x, w, y on the device; one of them is set, by direction.
  void run(const void* x, const void* w, const void* y) const;
};

/// Elements as f64, and back with one rounding.
double load(const void* data, tidepool::DType type, int64_t i);
void store(void* data, tidepool::DType type, int64_t i, double value);
float rounded_to_tf32(float value);

}  // namespace simulated
