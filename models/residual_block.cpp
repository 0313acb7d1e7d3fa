#include "models/residual_block.h"

#include "core/error.h"

namespace tidepool {
namespace {

// The layer `name`.convN and its norm.
ConvNormActNames layer(const std::string& name, int n) {
  return {fmt::format("{}.conv{}", name, n), fmt::format("{}.bn{}", name, n), fmt::format("{}.relu{}", name, n)};
}

}  // namespace

Value residual_block(GraphBuilder& g, const std::string& name, Value x, const ResidualBlock& block) {
  const ConvSpec strided{
      .out = block.planes, .stride = block.stride, .act = Act::relu, .slot = block.slot, .branch = "main"};
  const int64_t out = block.bottleneck ? 4 * block.planes : block.planes;
  Value y = x;
  if (block.bottleneck) {
    y = g.conv_norm_act(layer(name, 1), y, {.out = block.planes, .kernel = 1, .act = Act::relu});
    y = g.conv_norm_act(layer(name, 2), y, strided);
    y = g.conv_norm_act(layer(name, 3), y, {.out = out, .kernel = 1});
  } else {
    y = g.conv_norm_act(layer(name, 1), y, strided);
    y = g.conv_norm_act(layer(name, 2), y, {.out = out});
  }
  if (block.stride != 1 || x.channels != out)
    x = g.conv_norm_act({name + ".downsample.0", name + ".downsample.1", ""}, x,
                        {.out = out, .kernel = 1, .stride = block.stride, .slot = block.slot, .branch = "shortcut"});
  return g.activation(name + ".relu", g.add(name, y, x), Act::relu);
}

}  // namespace tidepool
