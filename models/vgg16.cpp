// VGG-16 with batch norm (Simonyan & Zisserman, ICLR 2015). Tensors are named as torchvision's vgg16_bn names them.
// Heads: "linear", one linear layer behind a global average; "torchvision", a fifth pooling and torchvision's three
// linear layers (with model.conv_bias the network is vgg16_bn); "fcn", for segmentation (Long, Shelhamer & Darrell,
// CVPR 2015).
#include <nlohmann/json.hpp>
#include <vector>

#include "layers/init.h"
#include "models/graph.h"

namespace tidepool {

namespace {

// The paper's FCN-8s, one resolution up, as there is no pool5: scores of the last map, enlarged and added to those of
// the two resolutions before it. Enlarged bilinearly, where the paper learns a transposed convolution that starts so;
// the scores of skips start at zero, as the paper's.
Value fcn(GraphBuilder& g, Value last, const std::vector<Value>& resized) {
  const auto scores = [&](const std::string& name, Value x, std::function<void(const Tensor&, uint64_t)> init) {
    return g.conv(name, x, {.out = g.options().classes, .kernel = 1, .bias = true, .weight_init = std::move(init)});
  };
  Value y = scores("classifier", last, normal_init(0.01));
  for (const size_t slot : {3, 2}) {
    const Value skip = scores(fmt::format("score_pool{}", slot), resized[slot - 1], constant_init(0));
    y = g.add(fmt::format("fuse_pool{}", slot), g.resize_like(fmt::format("upscore_pool{}", slot), y, skip), skip);
  }
  return y;
}

// As torchvision's: 7x7 means, then 4096, 4096 and the classes.
Value three_linear(GraphBuilder& g, Value x) {
  x = g.adaptive_avg("avgpool", x, 7);
  for (const int index : {0, 3}) {
    x = g.linear(fmt::format("classifier.{}", index), x, g.scaled(4096));
    x = g.activation(fmt::format("classifier.{}", index + 1), x, Act::relu);
    x = g.dropout(fmt::format("classifier.{}", index + 2), x, 0.5);
  }
  return g.linear("classifier.6", x, g.options().classes);
}

}  // namespace

Graph vgg16(GraphBuilder& g) {
  static const std::vector<std::vector<int64_t>> kBlocks{
      {64, 64}, {128, 128}, {256, 256, 256}, {512, 512, 512}, {512, 512, 512}};
  const std::string head = g.head({"linear", "torchvision", "fcn"});
  const size_t slots = head == "torchvision" ? 5 : 4;
  Value x = g.input();
  std::vector<Value> resized;  // by slot
  int index = 0;               // torchvision's numbering of `features`: convolution, batch norm, ReLU, ..., pooling
  const auto next = [&] { return fmt::format("features.{}", index++); };
  for (size_t block = 0; block < kBlocks.size(); ++block) {
    for (const int64_t channels : kBlocks[block]) {
      const std::string conv = next(), norm = next(), act = next();
      x = g.conv_norm_act({conv, norm, act}, x, {.out = g.scaled(channels), .bias = g.conv_bias(), .act = Act::relu});
    }
    ++index;
    if (block == slots) continue;
    x = g.pool_slot(fmt::format("pool{}", block + 1), x, {{"type", "max"}, {"kernel", 2}});
    resized.push_back(x);
  }
  if (head == "fcn") return g.finish(fcn(g, x, resized));
  if (head == "torchvision") return g.finish(three_linear(g, x));
  return g.finish(g.linear("classifier", g.global_avg("avgpool", x), g.options().classes));
}

}  // namespace tidepool
