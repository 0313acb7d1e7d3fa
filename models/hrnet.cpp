// HRNetV2 with its segmentation head (Sun et al., arXiv:1904.04514; Wang et al., TPAMI 2021). Tensors are named as the
// authors' repository names them, HRNet/HRNet-Semantic-Segmentation, lib/models/seg_hrnet.py. As there: convolutions
// without bias but for the two of the head, batch norms of momentum 0.1 (older revisions: 0.01), maps enlarged with
// align_corners false (the repository's branch HRNet-OCR: true).
#include <array>
#include <vector>

#include "layers/init.h"
#include "models/graph.h"
#include "models/residual_block.h"

namespace tidepool {
namespace {

struct HrNet {
  int64_t planes;              // of the first stage's bottlenecks
  int bottlenecks;             // of the first stage
  int64_t channels;            // of the highest resolution; every lower one has twice as many as the one above it
  int blocks;                  // residual blocks of a branch
  std::array<int, 3> modules;  // of stages 2, 3 and 4
};

// Map `from` with the channels and at the size of map `to`: strided convolutions down, a 1x1 convolution and a resize
// up. A way down that ends at another size, as the map's own may be learned, is resized too.
Value exchanged(GraphBuilder& g, const std::string& name, const std::vector<Value>& x, size_t from, size_t to) {
  Value y = x[from];
  if (from == to) return y;
  if (from > to) y = g.conv_norm_act({name + ".0", name + ".1", ""}, y, {.out = x[to].channels, .kernel = 1});
  for (size_t k = from; k < to; ++k) {
    const bool last = k + 1 == to;
    y = g.conv_norm_act(ConvNormActNames::indexed(fmt::format("{}.{}", name, k - from)), y,
                        {.out = last ? x[to].channels : y.channels, .stride = 2, .act = last ? Act::none : Act::relu});
  }
  return g.resize_like(name + ".resize", y, x[to]);
}

// Residual blocks at every resolution, highest first; then each result is the sum of all of them at its resolution.
std::vector<Value> exchange_module(GraphBuilder& g, const std::string& name, std::vector<Value> x, int blocks) {
  for (size_t branch = 0; branch < x.size(); ++branch)
    for (int k = 0; k < blocks; ++k)
      x[branch] = residual_block(g, fmt::format("{}.branches.{}.{}", name, branch, k), x[branch],
                                 {.planes = x[branch].channels});
  std::vector<Value> fused;
  for (size_t to = 0; to < x.size(); ++to) {
    const std::string layers = fmt::format("{}.fuse_layers.{}", name, to);
    Value sum = exchanged(g, layers + ".0", x, 0, to);
    for (size_t from = 1; from < x.size(); ++from)
      sum = g.add(fmt::format("{}.add{}", layers, from), sum,
                  exchanged(g, fmt::format("{}.{}", layers, from), x, from, to));
    fused.push_back(g.activation(layers + ".relu", sum, Act::relu));
  }
  return fused;
}

Graph hrnet(GraphBuilder& g, const HrNet& h) {
  Value x = g.conv_norm_act({"conv1", "bn1", "relu1"}, g.input(),
                            {.out = g.scaled(64), .stride = 2, .act = Act::relu, .slot = "stem1"});
  x = g.conv_norm_act({"conv2", "bn2", "relu2"}, x,
                      {.out = g.scaled(64), .stride = 2, .act = Act::relu, .slot = "stem2"});
  for (int i = 0; i < h.bottlenecks; ++i)
    x = residual_block(g, fmt::format("layer1.{}", i), x, {.planes = g.scaled(h.planes), .bottleneck = true});

  std::vector<Value> maps{
      g.conv_norm_act(ConvNormActNames::indexed("transition1.0"), x, {.out = g.scaled(h.channels), .act = Act::relu})};
  for (size_t stage = 2; stage <= 4; ++stage) {
    // A transition adds a resolution below the lowest, its one strided convolution is the slot.
    const std::string transition = fmt::format("transition{}", stage - 1);
    maps.push_back(g.conv_norm_act(
        ConvNormActNames::indexed(fmt::format("{}.{}.0", transition, stage - 1)), stage == 2 ? x : maps.back(),
        {.out = g.scaled(h.channels << (stage - 1)), .stride = 2, .act = Act::relu, .slot = transition}));
    for (int i = 0; i < h.modules[stage - 2]; ++i)
      maps = exchange_module(g, fmt::format("stage{}.{}", stage, i), std::move(maps), h.blocks);
  }

  for (size_t i = 1; i < maps.size(); ++i) maps[i] = g.resize_like(fmt::format("resize.{}", i), maps[i], maps[0]);
  x = g.concat("concat", maps);
  x = g.conv_norm_act({"last_layer.0", "last_layer.1", "last_layer.2"}, x,
                      {.out = x.channels, .kernel = 1, .bias = true, .act = Act::relu});
  return g.finish(g.conv("last_layer.3", x,
                         {.out = g.options().classes, .kernel = 1, .bias = true, .weight_init = normal_init(0.001)}));
}

}  // namespace

// The authors' small network of version 1: 16 channels at the highest resolution, a bottleneck of 32 planes and one
// module a stage. (Version 2 has 18 channels.)
Graph hrnet_w18_small(GraphBuilder& g) {
  return hrnet(g, {.planes = 32, .bottlenecks = 1, .channels = 16, .blocks = 2, .modules = {1, 1, 1}});
}
Graph hrnet_w48(GraphBuilder& g) {
  return hrnet(g, {.planes = 64, .bottlenecks = 4, .channels = 48, .blocks = 4, .modules = {1, 4, 3}});
}

}  // namespace tidepool
