// A map resized to a given size, as torch.nn.functional.interpolate.
#pragma once
#include <cstdint>

#include "core/tensor.h"

namespace tidepool {

enum class ResizeMode : uint8_t { bilinear, nearest };
/// "bilinear"
const char* name_of(ResizeMode mode);

/// x [N, C, spatial], 1 to 3 spatial axes -> y [N, C, size], in x's memory format. Output o of an axis of n positions
/// and m outputs samples:
/// - bilinear (linear over each axis; align_corners false): max(0, (o + 1/2) n / m - 1/2), between two neighbours;
/// - nearest: floor(o n / m). This is exact; PyTorch rounds n / m to f32, which moves a sample of some sizes (26 to
/// 22). When the size is x's own, x itself is returned. A sample does not read a neighbour of weight 0. Keeps nothing.
/// Throws Error("[resize] ...").
Tensor resize(const Tensor& x, const Dims& size, ResizeMode mode);

}  // namespace tidepool
