// From the bytes of an image to what a network sees: augmentation, then the variant, then normalisation.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "data/augment.h"
#include "data/source.h"
#include "data/variant.h"

namespace tidepool {

/// Of each channel, in units of the full byte range (0 to 1): y = (x / 255 - mean) / stddev.
struct Normalisation {
  std::vector<float> mean, stddev;
};

/// Buffers that a thread keeps from image to image.
struct TransformScratch {
  std::vector<float> image, lines;
};

/// The whole way of one image. Const functions may be called from several threads, each with its own scratch.
class Transform {
 public:
  /// Without `normalisation` the result is in [0, 1]. Errors name the key.
  Transform(ImageShape shape, const AugmentOptions& augment, const VariantOptions& variant,
            const Normalisation* normalisation = nullptr);

  /// x: planar bytes (C, H, W) -> y: f32 (H, W, C). With `words` (see image_words) as in training, without as in
  /// evaluation: no augmentation, the middle of a stretch.
  void apply(const uint8_t* x, const std::optional<std::array<uint32_t, 4>>& words, float* y,
             TransformScratch& scratch) const;

 private:
  ImageShape shape_;
  AugmentOptions augment_;
  Variant variant_;
  ByteTable table_;                    // holds the normalisation too when there is no variant in between
  std::vector<float> mean_, inverse_;  // the normalisation that remains to be done, or empty
};

}  // namespace tidepool
