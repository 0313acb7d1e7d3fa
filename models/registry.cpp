#include "models/registry.h"

namespace tidepool {

std::span<const NetworkRegistration> network_registrations() {
  static constexpr NetworkRegistration kNetworks[] = {
      {"efficientnet_b0", "EfficientNet-B0 (Tan & Le, ICML 2019), tensors named as torchvision's.", efficientnet_b0},
      {"vgg16", "VGG-16 with batch norm and one linear layer, for small images (Simonyan & Zisserman, ICLR 2015).",
       vgg16},
  };
  return kNetworks;
}

}  // namespace tidepool
