// VGG-16 with batch norm for small images (Simonyan & Zisserman, ICLR 2015), with one linear layer behind a global
// average. Tensors are named as torchvision's vgg16_bn names them.
#include <nlohmann/json.hpp>
#include <vector>

#include "models/registry.h"

namespace tidepool {

Graph vgg16(GraphBuilder& g) {
  static const std::vector<std::vector<int64_t>> kBlocks{
      {64, 64}, {128, 128}, {256, 256, 256}, {512, 512, 512}, {512, 512, 512}};
  constexpr size_t kSlots = 4;
  Value x = g.input();
  int index = 0;  // torchvision's numbering of `features`: convolution, batch norm, ReLU, ..., pooling
  const auto next = [&] { return fmt::format("features.{}", index++); };
  for (size_t block = 0; block < kBlocks.size(); ++block) {
    for (const int64_t channels : kBlocks[block]) {
      const std::string conv = next(), norm = next(), act = next();
      x = g.conv_norm_act({conv, norm, act}, x,
                          {.out = g.scaled(channels), .bias = g.options().conv_bias, .act = Act::relu});
    }
    ++index;
    if (block < kSlots) x = g.pool_slot(fmt::format("pool{}", block + 1), x, {{"type", "max"}, {"kernel", 2}});
  }
  return g.finish(g.linear("classifier", g.global_avg("avgpool", x), g.options().classes));
}

}  // namespace tidepool
