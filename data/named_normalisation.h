// Published means and deviations of RGB images, which config key data.normalize names.
#pragma once
#include <array>

namespace tidepool {

/// Red, green, blue, in the units of Normalisation.
struct NamedNormalisation {
  const char* name;
  std::array<double, 3> mean, stddev;
};
inline constexpr NamedNormalisation kNamedNormalisations[] = {
    {"cifar100", {0.5071, 0.4865, 0.4409}, {0.2673, 0.2564, 0.2762}},  // of its training images
    {"imagenet", {0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}},        // as torchvision's models take them
};

}  // namespace tidepool
