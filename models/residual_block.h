// The residual blocks of ResNet (He et al., CVPR 2016), which HRNet is made of too.
#pragma once
#include <cstdint>
#include <string>

#include "models/graph.h"

namespace tidepool {

struct ResidualBlock {
  int64_t planes = 0;       ///< channels of the 3x3 convolutions
  bool bottleneck = false;  ///< 1x1, 3x3 and 1x1 to four times the planes; else 3x3 and 3x3
  int64_t stride = 1;       ///< of the (first) 3x3 convolution
  std::string slot = {};    ///< takes the stride of both branches
};

/// Tensors named as torchvision's: `name`.conv1, `name`.bn1, ..., and `name`.downsample.0 and .1 in a shortcut that
/// changes size or channels.
Value residual_block(GraphBuilder& g, const std::string& name, Value x, const ResidualBlock& block);

}  // namespace tidepool
