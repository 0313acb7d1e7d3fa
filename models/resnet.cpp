// ResNet-18, 34, 50 and 101 (He et al., CVPR 2016), the stride of a bottleneck in its 3x3 convolution; tensors named as
// torchvision's resnet* name them.
#include <array>
#include <cmath>

#include "layers/init.h"
#include "models/registry.h"

namespace tidepool {
namespace {

struct ResNet {
  std::array<int, 4> blocks;
  bool bottleneck;
};

// The layer `name`.convN and its norm.
ConvNormActNames layer(const std::string& name, int n) {
  return {fmt::format("{}.conv{}", name, n), fmt::format("{}.bn{}", name, n), fmt::format("{}.relu{}", name, n)};
}

// A residual block of `planes` channels in its 3x3 convolutions. The slot takes the stride of both branches.
Value block(GraphBuilder& g, const std::string& name, Value x, int64_t planes, int64_t stride, const std::string& slot,
            bool bottleneck) {
  const ConvSpec strided{.out = planes, .stride = stride, .act = Act::relu, .slot = slot, .branch = "main"};
  const int64_t out = bottleneck ? 4 * planes : planes;
  Value y = x;
  if (bottleneck) {
    y = g.conv_norm_act(layer(name, 1), y, {.out = planes, .kernel = 1, .act = Act::relu});
    y = g.conv_norm_act(layer(name, 2), y, strided);
    y = g.conv_norm_act(layer(name, 3), y, {.out = out, .kernel = 1});
  } else {
    y = g.conv_norm_act(layer(name, 1), y, strided);
    y = g.conv_norm_act(layer(name, 2), y, {.out = out});
  }
  if (stride != 1 || x.channels != out)
    x = g.conv_norm_act({name + ".downsample.0", name + ".downsample.1", ""}, x,
                        {.out = out, .kernel = 1, .stride = stride, .slot = slot, .branch = "shortcut"});
  return g.activation(name + ".relu", g.add(name, y, x), Act::relu);
}

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
      x = block(g, fmt::format("layer{}.{}", stage, i), x, g.scaled(64 << (stage - 1)), strided ? 2 : 1,
                strided ? fmt::format("stage{}", stage) : "", r.bottleneck);
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
