#include "data/transform.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/error.h"

namespace tidepool {

void expect_variant_fits(const VariantOptions& variant, std::string_view dataset, const DatasetFormat& format) {
  if (!format.label_maps || variant.type == "none") return;
  throw Error("data.variant.type: {} moves what is in an image, and {} has a label for each pixel: expected none",
              variant.type, dataset);
}

Transform::Transform(ImageShape shape, const AugmentOptions& augment_options, const VariantOptions& variant,
                     const Normalisation* normalisation, DType dtype)
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
  unit_.resize(channels);
  for (auto& values : unit_)
    for (size_t byte = 0; byte < 256; ++byte) values[byte] = static_cast<float>(byte) / 255.0f;
  dispatch_floating(dtype, "data", [&]<class T>(T) {
    ByteTable<T> table(channels);
    for (size_t c = 0; c < channels; ++c)
      for (size_t byte = 0; byte < 256; ++byte)
        table[c][byte] = static_cast<T>(mean_.empty() ? unit_[c][byte] : (unit_[c][byte] - mean_[c]) * inverse_[c]);
    normalised_ = std::move(table);
  });
}

Crop Transform::crop_of(const Sample& sample, const Words& words) const {
  Crop crop = draw_crop(augment_, words, sample.full_height, sample.full_width, shape_);
  crop.top = crop.top * sample.scale + sample.offset[0];
  crop.left = crop.left * sample.scale + sample.offset[1];
  crop.height *= sample.scale;
  crop.width *= sample.scale;
  return crop;
}

int64_t Transform::reduction(int64_t height, int64_t width, const Words& words) const {
  const Crop crop = draw_crop(augment_, words, height, width, shape_);
  const double factor =
      std::min(crop.height / static_cast<double>(shape_.height), crop.width / static_cast<double>(shape_.width));
  return std::max<int64_t>(1, static_cast<int64_t>(factor));
}

template <class T>
void Transform::image(const Sample& sample, const Words& words, T* y, TransformScratch& scratch) const {
  const Crop crop = crop_of(sample, words);
  const bool exact = is_exact(crop, shape_);
  if (variant_.is_none() && exact) return show_exactly(sample, crop, shape_, std::get<ByteTable<T>>(normalised_), y);

  const auto elements = static_cast<size_t>(shape_.elements());
  const auto memory = [&](std::vector<float>& floats) {
    floats.resize(elements);
    return floats.data();
  };
  float* shown = memory(scratch.image);
  if (exact)
    show_exactly(sample, crop, shape_, unit_, shown);
  else
    show_resampled(sample, crop, shape_, shown, scratch.resample);
  if (!variant_.is_none()) {
    float* varied = nullptr;
    if constexpr (std::is_same_v<T, float>)
      varied = y;  // normalised in place
    else
      varied = memory(scratch.varied);
    variant_.apply(shown, varied, words ? std::optional((*words)[3]) : std::nullopt, scratch.lines);
    shown = varied;
  }
  const auto channels = static_cast<size_t>(shape_.channels);
  if (mean_.empty()) {
    for (size_t i = 0; i < elements; ++i) y[i] = static_cast<T>(shown[i]);
    return;
  }
  for (int64_t i = 0; i < shape_.height * shape_.width; ++i, y += channels, shown += channels)
    for (size_t c = 0; c < channels; ++c) y[c] = static_cast<T>((shown[c] - mean_[c]) * inverse_[c]);
}
template void Transform::image(const Sample&, const Words&, float*, TransformScratch&) const;
template void Transform::image(const Sample&, const Words&, bf16*, TransformScratch&) const;
template void Transform::image(const Sample&, const Words&, double*, TransformScratch&) const;

void Transform::labels(const Sample& sample, const Words& words, int32_t* y) const {
  show_labels(sample, crop_of(sample, words), shape_, y);
}

}  // namespace tidepool
