#include "models/registry.h"

namespace tidepool {

Graph efficientnet_b0(GraphBuilder& g);
Graph hrnet_w18_small(GraphBuilder& g);
Graph hrnet_w48(GraphBuilder& g);
Graph mobilenet_v2(GraphBuilder& g);
Graph resnet18(GraphBuilder& g);
Graph resnet34(GraphBuilder& g);
Graph resnet50(GraphBuilder& g);
Graph resnet101(GraphBuilder& g);
Graph vgg16(GraphBuilder& g);

std::span<const NetworkRegistration> network_registrations() {
  static constexpr NetworkRegistration kNetworks[] = {
      {"efficientnet_b0", "EfficientNet-B0 (Tan & Le, ICML 2019), tensors named as torchvision's.", efficientnet_b0},
      {"hrnet_w18_small",
       "HRNetV2 with its segmentation head, the authors' small network of version 1, tensors named as theirs.",
       hrnet_w18_small},
      {"hrnet_w48", "HRNetV2-W48 with its segmentation head (Wang et al., TPAMI 2021), tensors named as the authors'.",
       hrnet_w48},
      {"mobilenet_v2", "MobileNetV2 (Sandler et al., CVPR 2018), tensors named as torchvision's.", mobilenet_v2},
      {"resnet18", "ResNet-18 (He et al., CVPR 2016), tensors named as torchvision's.", resnet18},
      {"resnet34", "ResNet-34, likewise.", resnet34},
      {"resnet50", "ResNet-50, likewise: bottleneck blocks, the stride in the 3x3 convolution.", resnet50},
      {"resnet101", "ResNet-101, likewise.", resnet101},
      {"vgg16", "VGG-16 with batch norm (Simonyan & Zisserman, ICLR 2015); one linear layer, or model.head.", vgg16},
  };
  return kNetworks;
}

}  // namespace tidepool
