// A network of two blocks with each resizing operator against an independent f64 implementation in PyTorch: the loss
// with its GMACs term, the running statistics and the gradient of every parameter, to 1e-6.
#include <nlohmann/json.hpp>

#include "layers/loss.h"
#include "models/network.h"
#include "tests/golden/golden.h"
#include "train/step.h"

namespace tidepool {
namespace {

constexpr double kTolerance = 1e-6;

Graph two_blocks(GraphBuilder& g) {
  const Json unset{{"type", "max"}, {"kernel", 2}};
  Value x = g.conv_norm_act({"features.0", "features.1", "features.2"}, g.input(), {.out = 6, .act = Act::relu});
  x = g.pool_slot("pool1", x, unset);
  x = g.conv_norm_act({"features.3", "features.4", "features.5"}, x, {.out = 8, .act = Act::relu});
  x = g.pool_slot("pool2", x, unset);
  return g.finish(g.linear("classifier", g.global_avg("avgpool", x), g.options().classes));
}

class TwoBlock : public testing::TestWithParam<std::tuple<const char*, MemoryFormat>> {};

TEST_P(TwoBlock, LossAndEveryGradient) {
  const auto& [name, format] = GetParam();
  const SafetensorsFile golden = read_golden(std::string("two_block_") + name + ".safetensors");
  const Json config = Json::parse(golden.metadata.at("config"));
  Json place = config;
  place["type"] = golden.metadata.at("op");
  const Tensor& x = golden.tensors.at("x");
  const NetworkOptions options{
      .name = "two_blocks", .classes = golden.tensors.at("logits").size(1), .input = x.shape(), .dtype = DType::f64};
  GraphBuilder builder(options, {{"default", place}});
  Network network(two_blocks(builder), options);
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
