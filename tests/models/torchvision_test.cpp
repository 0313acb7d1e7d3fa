// Every network beside torchvision's of the same name (tests/golden/networks.py). A new network is a line in cases().
#include "tests/models/network_golden.h"

namespace tidepool {
namespace {

struct Case {
  NetworkOptions options;
  Json pool = Json::object();
  double gradient_jump = 0;
};

void PrintTo(const Case& one, std::ostream* out) {
  *out << one.options.name;
}

std::vector<Case> cases() {
  return {
      {{.name = "efficientnet_b0", .dropout = 0.0, .stochastic_depth = 0.0}},
      {.options = {.name = "mobilenet_v2", .dropout = 0.0}, .gradient_jump = 0.05},
      {.options = {.name = "resnet18"}, .gradient_jump = 0.05},
      {.options = {.name = "resnet50"}, .gradient_jump = 0.05},
      {{.name = "vgg16"}, {{"default", {{"type", "max"}, {"kernel", 2}}}}},
  };
}

class Torchvision : public testing::TestWithParam<Case> {
 protected:
  NetworkGolden golden() const { return NetworkGolden(GetParam().options, GetParam().pool, GetParam().gradient_jump); }
};

TEST_P(Torchvision, CountsAndNames) {
  golden().expect_counts();
}

TEST_P(Torchvision, Evaluation) {
  golden().expect_mode(false);
}

TEST_P(Torchvision, Training) {
  golden().expect_mode(true);
}

TEST_P(Torchvision, TenSteps) {
  golden().expect_steps();
}

TEST_P(Torchvision, ImagenetLogits) {
  const NetworkGolden own = golden();
  if (!own.has("imagenet")) GTEST_SKIP() << "made at 32x32 only";
  own.expect_imagenet_logits();
}

INSTANTIATE_TEST_SUITE_P(Networks, Torchvision, testing::ValuesIn(cases()),
                         [](const auto& one) { return one.param.options.name; });

// The function by which C++ and Python make the same weights, from known values: FNV-1a of "a" and SplitMix64.
TEST(HashedWeights, KnownValues) {
  EXPECT_EQ(HashedWords("").word(0), 0xc3817c016ba4ff30u);
  EXPECT_EQ(HashedWords("a").word(7), 0xa9b0700ece9cc85cu);
  EXPECT_EQ(HashedWords("a").unit(7), 0x1.4d8384p-2);
}

}  // namespace
}  // namespace tidepool
