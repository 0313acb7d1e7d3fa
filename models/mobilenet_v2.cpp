// MobileNetV2 (Sandler et al., CVPR 2018), tensors named as torchvision's mobilenet_v2 names them.
#include <algorithm>

#include "models/graph.h"

namespace tidepool {
namespace {

struct Stage {
  int64_t expand, channels;
  int repeats;
  int64_t stride;
};
constexpr Stage kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                             {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};

// Inverted residual block: expand, depthwise, project without an activation.
Value inverted_residual(GraphBuilder& g, const std::string& name, Value x, int64_t expand, int64_t out, int64_t stride,
                        const std::string& slot) {
  auto layer = [&, k = 0]() mutable { return fmt::format("{}.conv.{}", name, k++); };
  Value y = x;
  if (expand != 1)
    y = g.conv_norm_act(ConvNormActNames::indexed(layer()), y,
                        {.out = x.channels * expand, .kernel = 1, .act = Act::relu6});
  y = g.conv_norm_act(ConvNormActNames::indexed(layer()), y,
                      {.out = y.channels, .stride = stride, .groups = y.channels, .act = Act::relu6, .slot = slot});
  const std::string project = layer(), norm = layer();
  y = g.conv_norm_act({project, norm, ""}, y, {.out = out, .kernel = 1});
  return stride == 1 && x.channels == out ? g.add(name, y, x) : y;
}

}  // namespace

Graph mobilenet_v2(GraphBuilder& g) {
  const bool cifar = g.cifar_stem();
  Value x = g.conv_norm_act(
      ConvNormActNames::indexed("features.0"), g.input(),
      {.out = g.scaled_by_8(32), .stride = cifar ? 1 : 2, .act = Act::relu6, .slot = cifar ? "" : "stem"});
  int number = 0, index = 1;
  for (const Stage& s : kStages) {
    ++number;
    for (int i = 0; i < s.repeats; ++i) {
      const bool strided = i == 0 && s.stride != 1 && !(cifar && number == 2);
      x = inverted_residual(g, fmt::format("features.{}", index++), x, s.expand, g.scaled_by_8(s.channels),
                            strided ? s.stride : 1, strided ? fmt::format("stage{}", number) : "");
    }
  }
  x = g.conv_norm_act(ConvNormActNames::indexed("features.18"), x,
                      {.out = std::max<int64_t>(1280, g.scaled_by_8(1280)), .kernel = 1, .act = Act::relu6});
  x = g.dropout("classifier.0", g.global_avg("avgpool", x), 0.2);
  return g.finish(g.linear("classifier.1", x, g.options().classes));
}

}  // namespace tidepool
