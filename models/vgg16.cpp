// VGG-16 with batch norm for small images (Simonyan & Zisserman, ICLR 2015; one linear layer behind a global average
// in place of three). Tensors are named as torchvision's vgg16_bn names them.
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "layers/global_avg.h"
#include "models/blocks.h"
#include "models/registry.h"

namespace tidepool {
namespace {

constexpr std::array<std::array<int64_t, 3>, 5> kChannels{
    {{64, 64, 0}, {128, 128, 0}, {256, 256, 256}, {512, 512, 512}, {512, 512, 512}}};
constexpr int kPlaces = 4;

class Vgg16 final : public Network {
 public:
  Vgg16(const NetworkOptions& options, const Json& pool) : Network(options) {
    if (options.input.rank() != 4)
      throw Error("vgg16: expected images (N, C, H, W), got the shape {}", options.input.str());
    NetworkBuilder b(*this, pool);
    TracedShape map = TracedShape::of(options.input);
    Trace unused;
    int index = 0;  // torchvision's numbering of `features`: convolution, batch norm, ReLU, ..., pooling
    ConvOptions same;
    same.padding = {1, 1, 1};
    for (size_t block = 0; block < kChannels.size(); ++block) {
      Block& layers = blocks_.emplace_back();
      for (const int64_t channels : kChannels[block]) {
        if (channels == 0) continue;
        const int64_t out = b.scaled(channels);
        layers.convolutions.emplace_back(b, fmt::format("features.{}", index), fmt::format("features.{}", index + 1),
                                         map.c, out, 3, same, options.conv_bias);
        map = layers.convolutions.back().trace(map, unused);
        index += 3;
      }
      ++index;
      if (block < kPlaces) {
        layers.pool.emplace(b, fmt::format("pool{}", block + 1), map.dims(), kPlaces);
        map = layers.pool->trace(map, unused);
      }
    }
    classifier_.emplace(b, "classifier", map.c, options.classes);
    b.finish();
  }

  Tensor forward(const Tensor& x, const ForwardMode& mode) override {
    NormedMap map = x;
    for (const Block& block : blocks_) {
      for (const ConvNormReluBlock& convolution : block.convolutions) map = convolution(map, mode);
      if (block.pool) map = (*block.pool)(map, mode);
    }
    return (*classifier_)(global_avg(map.tensor()));
  }

 protected:
  TracedShape trace_layers(TracedShape map, Trace& trace) const override {
    for (const Block& block : blocks_) {
      for (const ConvNormReluBlock& convolution : block.convolutions) map = convolution.trace(map, trace);
      if (block.pool) map = block.pool->trace(map, trace);
    }
    map.lengths.clear();
    return classifier_->trace(map, trace);
  }

 private:
  struct Block {
    std::vector<ConvNormReluBlock> convolutions;
    std::optional<PlaceBlock> pool;
  };
  std::vector<Block> blocks_;
  std::optional<LinearBlock> classifier_;
};

}  // namespace

std::unique_ptr<Network> make_vgg16(const NetworkOptions& options, const Json& pool) {
  return std::make_unique<Vgg16>(options, pool);
}

}  // namespace tidepool
