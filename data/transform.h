// From a sample to what a network sees: augmentation, then the variant, then normalisation, in the network's type.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "data/augment.h"
#include "data/dataset.h"
#include "data/variant.h"

namespace tidepool {

/// Of each channel, in units of the full byte range (0 to 1): y = (x / 255 - mean) / stddev.
struct Normalisation {
  std::vector<float> mean, stddev;
};

/// Buffers that a thread keeps from image to image.
struct TransformScratch {
  std::vector<float> image, varied, lines;
  ResampleScratch resample;
};

/// Throws Error naming both where a variant does not fit a data set: one of label maps takes "none" alone.
void expect_variant_fits(const VariantOptions& variant, const Dataset& dataset);

/// The whole way of one image. Const functions may be called from several threads, each with its own scratch.
class Transform {
 public:
  using Words = std::optional<std::array<uint32_t, 4>>;

  /// Results are of `shape`, in f32, bf16 or f64 (computed in f32 and rounded once); without `normalisation` in [0, 1].
  /// Throws Error naming the key.
  Transform(ImageShape shape, const AugmentOptions& augment, const VariantOptions& variant,
            const Normalisation* normalisation = nullptr, DType dtype = DType::f32);

  /// y: (H, W, C) of T, the type that the transform was made for. With `words` (see image_words) as in training,
  /// without as in evaluation: no augmentation, the middle of a stretch.
  template <class T>
  void image(const Sample& sample, const Words& words, T* y, TransformScratch& scratch) const;
  /// y: (H, W), the label map of the same crop. The variant is "none".
  void labels(const Sample& sample, const Words& words, int32_t* y) const;

  /// By how much an image of this size may come smaller, so that it is still not enlarged: for Sample::reduction.
  int64_t reduction(int64_t height, int64_t width, const Words& words) const;

 private:
  Crop crop_of(const Sample& sample, const Words& words) const;

  ImageShape shape_;
  AugmentOptions augment_;
  Variant variant_;
  ByteTable<float> unit_;  // bytes as 0 to 1
  std::variant<ByteTable<float>, ByteTable<bf16>, ByteTable<double>> normalised_;
  std::vector<float> mean_, inverse_;  // of the normalisation; empty: none
};

}  // namespace tidepool
