// HRNet's slots and where its maps meet. The numbers it computes: torchvision_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "layers/loss.h"
#include "models/network.h"
#include "tests/models/hashed_weights.h"
#include "train/step.h"

namespace tidepool {
namespace {

using Shapes = std::vector<std::pair<std::string, Dims>>;

std::unique_ptr<Network> small(int64_t height, int64_t width, const Json& pool = Json::object(), double wide = 0.25) {
  return make_network({.name = "hrnet_w18_small", .width = wide, .classes = 5, .input = {1, 3, height, width}}, pool);
}

// Names of the nodes that resize a map, without the last ones, behind the stages.
std::vector<std::string> resizes(const Network& network) {
  std::vector<std::string> names;
  for (const Node& node : network.graph().nodes)
    if (node.op && node.op->kind() == "resize" && node.name.starts_with("stage")) names.push_back(node.name);
  return names;
}

bool leads_down(const std::string& resize) {  // "stage3.0.fuse_layers.2.0.resize": from 0 to 2
  const size_t at = resize.find("fuse_layers.") + 12;
  return resize[at] > resize[at + 2];
}

TEST(HrNet, SlotsAndSizes) {
  const auto network = small(64, 96);
  EXPECT_EQ(network->slot_shapes(), (Shapes{{"stem1", {32, 48}},
                                            {"stem2", {16, 24}},
                                            {"transition1", {8, 12}},
                                            {"transition2", {4, 6}},
                                            {"transition3", {2, 3}}}));
  EXPECT_TRUE(network->gives_map());
  const Tensor x = hashed_tensor("x", {2, 3, 64, 96}, 0, 1).to(DType::f32).contiguous(MemoryFormat::channels_last);
  EXPECT_EQ(network->forward(x, {.training = true}).shape(), (Dims{2, 5, 16, 24}));
}

// Published: only the ways up are resized, at sizes that do not halve evenly too. Filled slots: the ways down that miss
// a slot on which their partner's size hangs, and no other.
TEST(HrNet, WaysDownAreResizedOnlyWhereSizesMayDiffer) {
  for (const int64_t size : {64, 75}) {
    const auto names = resizes(*small(size, 2 * size + 1));
    EXPECT_EQ(names.size(), 1u + 3 + 6);
    EXPECT_TRUE(std::none_of(names.begin(), names.end(), leads_down));
  }
  const Json dynopool{{"type", "dynopool"}};
  const auto down = [&](const Json& pool) {
    auto names = resizes(*small(64, 64, pool));
    std::erase_if(names, [](const std::string& name) { return !leads_down(name); });
    return names;
  };
  EXPECT_EQ(down({{"default", dynopool}}).size(), 1u + 3 + 6);
  EXPECT_EQ(down({{"stem1", dynopool}, {"stem2", dynopool}}).size(), 0u);
  EXPECT_EQ(down({{"transition1", dynopool}}),
            (std::vector<std::string>{"stage2.0.fuse_layers.1.0.resize", "stage3.0.fuse_layers.1.0.resize",
                                      "stage3.0.fuse_layers.2.0.resize", "stage4.0.fuse_layers.1.0.resize",
                                      "stage4.0.fuse_layers.2.0.resize", "stage4.0.fuse_layers.3.0.resize"}));
  EXPECT_EQ(down({{"transition3", dynopool}}).size(), 3u);
}

TEST(HrNet, DynopoolStartsAtThePublishedCost) {
  const auto published = small(64, 64), learned = small(64, 64, {{"default", {{"type", "dynopool"}}}});
  EXPECT_EQ(learned->trace().macs(), published->trace().macs());
  EXPECT_EQ(learned->slot_shapes(), published->slot_shapes());
}

// Sizes move while it trains, by the GMACs penalty and the task: every branch follows.
TEST(HrNet, LearnsTheSizesOfItsTransitions) {
  const auto network = small(64, 64, {{"default", {{"type", "dynopool"}, {"r", 0.6}}}});
  OptimConfig optim;
  optim.lr = 0.01;
  optim.schedule.type = ScheduleType::kConstant;
  ParamGroupConfig sizes;
  sizes.match = "*.alpha";
  sizes.lr = 0.05;
  sizes.schedule = optim.schedule;
  optim.groups = {sizes};
  constexpr int64_t kSteps = 4;
  Optimizer optimizer(optim, network->parameters(), kSteps, kSteps);
  const auto task = find_task("segmentation").make({.classes = 5});
  LossConfig loss;
  loss.gmacs_lambda = 300;
  Stepper stepper(*network, *task, optimizer, loss, 1);
  const Shapes first = network->slot_shapes();
  EXPECT_EQ(first[2], (std::pair<std::string, Dims>{"transition1", {11, 11}}));
  for (int64_t step = 0; step < kSteps; ++step) {
    const TensorBatch batch{
        hashed_tensor("x", {2, 3, 64, 64}, 0, 1).to(DType::f32).contiguous(MemoryFormat::channels_last),
        hashed_labels("y", 2 * 64 * 64, 5).reshape({2, 64, 64})};
    EXPECT_TRUE(std::isfinite(stepper.step(batch, step).total)) << step;
  }
  const Shapes last = network->slot_shapes();
  for (size_t i = 1; i < last.size(); ++i) {  // stem1 is a stride
    EXPECT_NE(last[i].second, first[i].second) << last[i].first;
    EXPECT_LT(last[i].second.product(), first[i].second.product()) << last[i].first;
  }
  const Tensor x = hashed_tensor("x", {1, 3, 64, 64}, 0, 1).to(DType::f32).contiguous(MemoryFormat::channels_last);
  const Dims logits = network->forward(x, {}).shape();
  EXPECT_EQ(logits, (Dims{1, 5, last[1].second[0], last[1].second[1]})) << "the highest resolution's";
}

TEST(HrNet, ImagesSmallerThanItsStridesAreRefused) {
  EXPECT_NO_THROW(small(32, 32));
  try {
    small(64, 16);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()),
              "transition3.3.0.0: images of 64x16 are too small for hrnet_w18_small: a convolution of stride 2 would "
              "read a map of 4x1; expected larger ones (data.size)");
  }
  EXPECT_THROW(small(16, 64, {{"default", {{"type", "dynopool"}}}}), Error) << "its ways down";
}

}  // namespace
}  // namespace tidepool
