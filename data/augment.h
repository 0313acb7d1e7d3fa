// Augmentation in training: zero padding, random crop back to the image's size, horizontal flip.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "data/source.h"

namespace tidepool {

/// Config key data.augment.
struct AugmentOptions {
  std::string type = "standard";  ///< standard: what follows; none: the image as it is
  int64_t padding = 4;            ///< pixels of black (byte 0, as torchvision pads before it normalises) on every side
  bool flip = true;               ///< mirrors every second image, left to right
};

/// What happens to one image: y(row, column) = x(row + top, mirrored column + left), black where that lies outside.
struct Augmentation {
  int64_t top = 0, left = 0;
  bool flip = false;
};

/// Error for an unknown type or a padding below 0.
void check_augment(const AugmentOptions& options);

/// The four random words of image `index` in `epoch`, a function of these and the seed alone: row, column and flip of
/// the augmentation, then one for the variant.
std::array<uint32_t, 4> image_words(uint64_t seed, int64_t epoch, int64_t index);

Augmentation draw_augmentation(const AugmentOptions& options, const std::array<uint32_t, 4>& words);

/// One value of f32 for each byte of each channel: (channels, 256).
using ByteTable = std::vector<std::array<float, 256>>;

/// x: planar bytes of shape (C, H, W) -> y: f32 (H, W, C), each byte through its channel's table.
void augment(const uint8_t* x, const ImageShape& shape, const Augmentation& augmentation, const ByteTable& table,
             float* y);

}  // namespace tidepool
