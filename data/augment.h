// Augmentation in training: zero padding, random crop to the size that the network sees, horizontal flip. In
// evaluation: the middle. One crop is applied to an image and to its label map.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/resample.h"

namespace tidepool {

/// Config key data.augment.
struct AugmentOptions {
  std::string type = "standard";  ///< standard: what follows; none: the middle of the image, as in evaluation
  int64_t padding =
      4;             ///< pixels of the result, black (byte 0, as torchvision pads before it normalises), on every side
  bool flip = true;  ///< mirrors every second image, left to right
};

/// What is shown of an image: the region of `height` x `width` pixels from (top, left) on, brought to the size that the
/// network sees, then mirrored. What lies outside of the image is black, and kIgnoredLabel in its label map.
struct Crop {
  double top = 0, left = 0, height = 0, width = 0;
  bool flip = false;
};

/// Error for an unknown type or a padding below 0.
void check_augment(const AugmentOptions& options);

/// The four random words of image `index` in `epoch`, a function of these and the seed alone: row, column and flip of
/// the augmentation, then one for the variant.
std::array<uint32_t, 4> image_words(uint64_t seed, int64_t epoch, int64_t index);

/// The crop of an image of height x width that fills shown.height x shown.width. An image of another size is first
/// resized to the smallest that covers the result, with its proportions. Without `words`, as in evaluation: the middle.
Crop draw_crop(const AugmentOptions& options, const std::optional<std::array<uint32_t, 4>>& words, int64_t height,
               int64_t width, const ImageShape& shown);

/// Whether every pixel shown is one pixel of the image, or lies outside.
bool is_exact(const Crop& crop, const ImageShape& shown);

/// One value for each byte of each channel: (channels, 256).
template <class T>
using ByteTable = std::vector<std::array<T, 256>>;

/// y: (H, W, C) of `shown`, each byte through its channel's table. The crop is exact. T is float, bf16 or double.
template <class T>
void show_exactly(const Sample& sample, const Crop& crop, const ImageShape& shown, const ByteTable<T>& table, T* y);

/// y: (H, W, C) of `shown`, in [0, 1]: bilinear, and over more pixels where the image is shrunk (an antialiasing
/// triangle, as Pillow's and torchvision's). `scratch` grows as needed.
void show_resampled(const Sample& sample, const Crop& crop, const ImageShape& shown, float* y,
                    ResampleScratch& scratch);

/// y: (H, W) of `shown`: the label at the nearest pixel.
void show_labels(const Sample& sample, const Crop& crop, const ImageShape& shown, int32_t* y);

}  // namespace tidepool
