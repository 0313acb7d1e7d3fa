#include "models/registry.h"

namespace tidepool {

std::span<const NetworkRegistration> network_registrations() {
  static constexpr NetworkRegistration kNetworks[] = {
      {"efficientnet_b0", efficientnet_b0},
      {"mobilenet_v2", mobilenet_v2},
      {"resnet101", resnet101},
      {"resnet18", resnet18},
      {"resnet34", resnet34},
      {"resnet50", resnet50},
      {"vgg16", vgg16},
  };
  return kNetworks;
}

}  // namespace tidepool
