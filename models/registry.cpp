#include "models/registry.h"

namespace tidepool {

std::span<const NetworkRegistration> network_registrations() {
  static constexpr NetworkRegistration kNetworks[] = {
      {"vgg16", make_vgg16},
  };
  return kNetworks;
}

}  // namespace tidepool
