// EfficientNet-B0 (Tan & Le, ICML 2019), tensors named as torchvision's efficientnet_b0 names them.
#include <algorithm>
#include <cmath>

#include "layers/init.h"
#include "models/graph.h"

namespace tidepool {
namespace {

struct Stage {
  int64_t expand, kernel, stride, channels;
  int repeats;
};
constexpr Stage kStages[] = {{1, 3, 1, 16, 1},  {6, 3, 2, 24, 2},  {6, 5, 2, 40, 2}, {6, 3, 2, 80, 3},
                             {6, 5, 1, 112, 3}, {6, 5, 2, 192, 4}, {6, 3, 1, 320, 1}};

// Squeeze-and-excitation: a gate per channel from the map's means.
Value squeeze_excitation(GraphBuilder& g, const std::string& name, Value x, int64_t squeezed) {
  Value s = g.global_avg(name + ".avgpool", x, /*keep_rank=*/true);
  s = g.conv(name + ".fc1", s, {.out = squeezed, .kernel = 1, .bias = true});
  s = g.activation(name + ".activation", s, Act::silu);
  s = g.conv(name + ".fc2", s, {.out = x.channels, .kernel = 1, .bias = true});
  return g.gate(name, x, g.activation(name + ".scale_activation", s, Act::sigmoid));
}

// Inverted residual block: expand, depthwise, squeeze-excitation, project. With a stride of 1 and as many channels
// behind it as before, the sum with x: narrow networks have such blocks where the published width has none.
Value mbconv(GraphBuilder& g, const std::string& name, Value x, const Stage& s, int64_t stride, const std::string& slot,
             double drop) {
  const int64_t out = g.scaled_by_8(s.channels), squeezed = std::max<int64_t>(1, x.channels / 4);
  auto layer = [&, k = 0]() mutable { return fmt::format("{}.block.{}", name, k++); };
  Value y = x;
  if (s.expand != 1)
    y = g.conv_norm_act(ConvNormActNames::indexed(layer()), y,
                        {.out = x.channels * s.expand, .kernel = 1, .act = Act::silu});
  y = g.conv_norm_act(
      ConvNormActNames::indexed(layer()), y,
      {.out = y.channels, .kernel = s.kernel, .stride = stride, .groups = y.channels, .act = Act::silu, .slot = slot});
  y = squeeze_excitation(g, layer(), y, squeezed);
  y = g.conv_norm_act(ConvNormActNames::indexed(layer()), y, {.out = out, .kernel = 1});
  if (stride != 1 || x.channels != out || !slot.empty()) return y;
  return g.add(name, g.stochastic_depth(name + ".stochastic_depth", y, drop), x);
}

}  // namespace

Graph efficientnet_b0(GraphBuilder& g) {
  const bool cifar = g.cifar_stem();
  const double depth = g.stochastic_depth_rate(0.2);
  int blocks = 0;
  for (const Stage& s : kStages) blocks += s.repeats;
  Value x = g.conv_norm_act(
      ConvNormActNames::indexed("features.0"), g.input(),
      {.out = g.scaled_by_8(32), .stride = cifar ? 1 : 2, .act = Act::silu, .slot = cifar ? "" : "stem"});
  int number = 1, block = 0;
  for (const Stage& s : kStages) {
    const int64_t stride = cifar && number == 2 ? 1 : s.stride;
    for (int i = 0; i < s.repeats; ++i, ++block) {
      const bool strided = i == 0 && stride != 1;
      x = mbconv(g, fmt::format("features.{}.{}", number, i), x, s, strided ? stride : 1,
                 strided ? fmt::format("stage{}", number) : "", depth * block / blocks);
    }
    ++number;
  }
  x = g.conv_norm_act(ConvNormActNames::indexed("features.8"), x,
                      {.out = 4 * g.scaled_by_8(320), .kernel = 1, .act = Act::silu});
  x = g.dropout("classifier.0", g.global_avg("avgpool", x), 0.2);
  return g.finish(g.linear("classifier.1", x, g.options().classes,
                           uniform_init(1 / std::sqrt(static_cast<double>(g.options().classes)))));
}

}  // namespace tidepool
