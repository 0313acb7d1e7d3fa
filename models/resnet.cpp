// ResNet-18, 34, 50 and 101 (He et al., CVPR 2016), the stride of a bottleneck in its 3x3 convolution; tensors named as
// torchvision's resnet* name them.
#include <array>
#include <cmath>

#include "layers/init.h"
#include "models/graph.h"
#include "models/residual_block.h"

namespace tidepool {
namespace {

struct ResNet {
  std::array<int, 4> blocks;
  bool bottleneck;
};

Graph resnet(GraphBuilder& g, const ResNet& r) {
  const bool cifar = g.cifar_stem();
  Value x = g.conv_norm_act({"conv1", "bn1", "relu"}, g.input(),
                            {.out = g.scaled(64),
                             .kernel = cifar ? 3 : 7,
                             .stride = cifar ? 1 : 2,
                             .act = Act::relu,
                             .slot = cifar ? "" : "stem"});
  if (!cifar) x = g.pool_slot("pool", x, {{"type", "max"}, {"kernel", 3}, {"stride", 2}, {"padding", 1}});
  for (int stage = 1; stage <= 4; ++stage)
    for (int i = 0; i < r.blocks[static_cast<size_t>(stage - 1)]; ++i) {
      const bool strided = stage > 1 && i == 0;
      x = residual_block(g, fmt::format("layer{}.{}", stage, i), x,
                         {.planes = g.scaled(64 << (stage - 1)),
                          .bottleneck = r.bottleneck,
                          .stride = strided ? 2 : 1,
                          .slot = strided ? fmt::format("stage{}", stage) : ""});
    }
  x = g.global_avg("avgpool", x);
  return g.finish(g.linear("fc", x, g.options().classes, uniform_init(1 / std::sqrt(static_cast<double>(x.channels)))));
}

}  // namespace

Graph resnet18(GraphBuilder& g) {
  return resnet(g, {{2, 2, 2, 2}, false});
}
Graph resnet34(GraphBuilder& g) {
  return resnet(g, {{3, 4, 6, 3}, false});
}
Graph resnet50(GraphBuilder& g) {
  return resnet(g, {{3, 4, 6, 3}, true});
}
Graph resnet101(GraphBuilder& g) {
  return resnet(g, {{3, 4, 23, 3}, true});
}

}  // namespace tidepool
