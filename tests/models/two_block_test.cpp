// A network of two blocks with each resizing operator against an independent f64 implementation in PyTorch: the loss
// with its GMACs term, the running statistics and the gradient of every parameter, to 1e-6.
#include <nlohmann/json.hpp>
#include <optional>

#include "layers/global_avg.h"
#include "layers/loss.h"
#include "models/blocks.h"
#include "tests/golden/golden.h"
#include "train/step.h"

namespace tidepool {
namespace {

constexpr double kTolerance = 1e-6;

class TwoBlocks final : public Network {
 public:
  TwoBlocks(const NetworkOptions& options, const Json& pool) : Network(options) {
    NetworkBuilder b(*this, pool);
    ConvOptions same;
    same.padding = {1, 1, 1};
    TracedShape map = TracedShape::of(options.input);
    Trace unused;
    conv1_.emplace(b, "features.0", 3, 6, 3, same, false);
    norm1_.emplace(b, "features.1", 6);
    map = conv1_->trace(map, unused);
    pool1_.emplace(b, "pool1", map.dims(), 2);
    map = pool1_->trace(map, unused);
    conv2_.emplace(b, "features.3", 6, 8, 3, same, false);
    norm2_.emplace(b, "features.4", 8);
    map = conv2_->trace(map, unused);
    pool2_.emplace(b, "pool2", map.dims(), 2);
    classifier_.emplace(b, "classifier", 8, options.classes);
    b.finish();
  }
  Tensor forward(const Tensor& x, const ForwardMode& mode) override {
    Tensor map = (*pool1_)((*norm1_)((*conv1_)(x), mode), mode);
    map = (*pool2_)((*norm2_)((*conv2_)(map), mode), mode);
    return (*classifier_)(global_avg(map));
  }

 protected:
  TracedShape trace_layers(TracedShape map, Trace& trace) const override {
    map = pool1_->trace(norm1_->trace(conv1_->trace(map, trace), trace), trace);
    map = pool2_->trace(norm2_->trace(conv2_->trace(map, trace), trace), trace);
    map.lengths.clear();
    return classifier_->trace(map, trace);
  }

 private:
  std::optional<ConvBlock> conv1_, conv2_;
  std::optional<BatchNormReluBlock> norm1_, norm2_;
  std::optional<PlaceBlock> pool1_, pool2_;
  std::optional<LinearBlock> classifier_;
};

class TwoBlock : public testing::TestWithParam<std::tuple<const char*, MemoryFormat>> {};

TEST_P(TwoBlock, LossAndEveryGradient) {
  const auto& [name, format] = GetParam();
  const SafetensorsFile golden = read_golden(std::string("two_block_") + name + ".safetensors");
  const Json config = Json::parse(golden.metadata.at("config"));
  Json place = config;
  place["type"] = golden.metadata.at("op");
  const Tensor& x = golden.tensors.at("x");
  TwoBlocks network(
      {.name = "two_blocks", .classes = golden.tensors.at("logits").size(1), .input = x.shape(), .dtype = DType::f64},
      {{"default", place}});
  ASSERT_GE(network.parameters().size(), 8u);
  for (const Parameter& p : network.parameters()) p.value.copy_from(golden.tensors.at(p.name));

  Tape tape;
  Tensor logits, loss;
  {
    const Tape::Scope scope(&tape);
    logits = network.forward(x.contiguous(format), {.training = true});
    loss = cross_entropy(logits, golden.tensors.at("labels"), std::stod(golden.metadata.at("label_smoothing")));
  }
  const Trace trace = network.trace();
  const double lambda = std::stod(golden.metadata.at("gmacs_lambda"));
  EXPECT_EQ(std::to_string(trace.macs()), golden.metadata.at("macs"));
  EXPECT_NEAR(trace.gmacs(), golden.tensors.at("gmacs_loss").item(), 1e-15);
  EXPECT_NEAR(loss.item() + lambda * trace.gmacs(), golden.tensors.at("loss").item(), 1e-10);
  EXPECT_LE(relative_error(logits, golden.tensors.at("logits")), kTolerance);

  tape.backward(loss);
  add_gmacs_gradient(trace, lambda);
  for (const Parameter& p : network.parameters()) {
    ASSERT_TRUE(p.value.grad()) << p.name;
    EXPECT_LE(relative_error(p.value.grad(), golden.tensors.at("d_" + p.name)), kTolerance) << p.name;
  }
  for (const Buffer& b : network.buffers())
    EXPECT_LE(relative_error(b.value, golden.tensors.at(b.name)), kTolerance) << b.name;
}

INSTANTIATE_TEST_SUITE_P(Golden, TwoBlock,
                         testing::Combine(testing::Values("max", "avg", "soft", "conv", "dynopool", "dynopool_start",
                                                          "shape_adaptor", "shape_adaptor_straight_through"),
                                          testing::Values(MemoryFormat::plain, MemoryFormat::channels_last)),
                         [](const auto& one) {
                           return std::string(std::get<0>(one.param)) + "_" + name_of(std::get<1>(one.param));
                         });

}  // namespace
}  // namespace tidepool
