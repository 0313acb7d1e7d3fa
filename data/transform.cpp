#include "data/transform.h"

#include "core/error.h"

namespace tidepool {

Transform::Transform(ImageShape shape, const AugmentOptions& augment_options, const VariantOptions& variant,
                     const Normalisation* normalisation)
    : shape_(shape), augment_(augment_options), variant_(variant, shape) {
  check_augment(augment_);
  const auto channels = static_cast<size_t>(shape.channels);
  if (normalisation != nullptr) {
    if (normalisation->mean.size() != channels || normalisation->stddev.size() != channels) {
      throw Error("data: normalisation of {} means and {} deviations for images of {} channels",
                  normalisation->mean.size(), normalisation->stddev.size(), channels);
    }
    for (const float deviation : normalisation->stddev) {
      if (!(deviation > 0))
        throw Error("data: normalisation by a standard deviation of {}, expected above 0", deviation);
      inverse_.push_back(1.0f / deviation);
    }
    mean_ = normalisation->mean;
  }
  const bool at_once = variant_.is_none() && normalisation != nullptr;
  table_.resize(channels);
  for (size_t c = 0; c < channels; ++c) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const float value = static_cast<float>(byte) / 255.0f;
      table_[c][byte] = at_once ? (value - mean_[c]) * inverse_[c] : value;
    }
  }
  if (at_once) {
    mean_.clear();
    inverse_.clear();
  }
}

void Transform::apply(const uint8_t* x, const std::optional<std::array<uint32_t, 4>>& words, float* y,
                      TransformScratch& scratch) const {
  const Augmentation augmentation = words ? draw_augmentation(augment_, *words) : Augmentation{};
  if (variant_.is_none()) {
    augment(x, shape_, augmentation, table_, y);
  } else {
    scratch.image.resize(static_cast<size_t>(shape_.elements()));
    augment(x, shape_, augmentation, table_, scratch.image.data());
    variant_.apply(scratch.image.data(), y, words ? std::optional((*words)[3]) : std::nullopt, scratch.lines);
  }
  if (mean_.empty()) return;
  const auto channels = static_cast<size_t>(shape_.channels);
  for (int64_t i = 0; i < shape_.height * shape_.width; ++i, y += channels) {
    for (size_t c = 0; c < channels; ++c) y[c] = (y[c] - mean_[c]) * inverse_[c];
  }
}

}  // namespace tidepool
