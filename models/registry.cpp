#include "models/registry.h"

namespace tidepool {

std::span<const NetworkRegistration> network_registrations() {
  static constexpr NetworkRegistration kNetworks[] = {
      {"efficientnet_b0", efficientnet_b0},
      {"vgg16", vgg16},
  };
  return kNetworks;
}

}  // namespace tidepool
