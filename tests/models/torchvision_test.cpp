// Every network beside torchvision's of the same name (tests/golden/networks.py). A new network is a line in kNetworks.
#include "tests/models/network_golden.h"

namespace tidepool {
namespace {

struct Case {
  NetworkOptions options;
  Json pool = Json::object();
};

std::vector<Case> cases() {
  return {
      {{.name = "vgg16"}, {{"default", {{"type", "max"}, {"kernel", 2}}}}},
  };
}

class Torchvision : public testing::TestWithParam<Case> {
 protected:
  NetworkGolden golden() const { return NetworkGolden(GetParam().options, GetParam().pool); }
};

TEST_P(Torchvision, CountsAndNames) {
  golden().expect_counts();
}

TEST_P(Torchvision, EvaluationF64) {
  golden().expect_f64(false);
}

TEST_P(Torchvision, TrainingF64) {
  golden().expect_f64(true);
}

TEST_P(Torchvision, EvaluationF32) {
  golden().expect_f32(false);
}

TEST_P(Torchvision, TrainingF32) {
  golden().expect_f32(true);
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
  EXPECT_EQ(HashedWords("").word(0), WORD_EMPTY);
  EXPECT_EQ(HashedWords("a").word(7), WORD_A);
  EXPECT_EQ(HashedWords("a").unit(7), UNIT_A);
}

}  // namespace
}  // namespace tidepool
