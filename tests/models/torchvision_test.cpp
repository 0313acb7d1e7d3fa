// Every network beside torchvision's of the same name, HRNet beside a reference written from the paper
// (tests/golden/networks.py). A new network is a line in cases().
#include "models/name_seed.h"
#include "tests/models/network_golden.h"

namespace tidepool {
namespace {

struct Case {
  NetworkOptions options;
  Json pool = Json::object();
  double gradient_jump = 0;
  std::string variant = "";
  std::string name() const { return options.name + variant; }
};

void PrintTo(const Case& one, std::ostream* out) {
  *out << one.name();
}

std::vector<Case> cases() {
  return {
      {{.name = "efficientnet_b0", .dropout = 0.0, .stochastic_depth = 0.0}},
      {.options = {.name = "hrnet_w18_small"}, .gradient_jump = 0.05},
      {.options = {.name = "mobilenet_v2", .dropout = 0.0}, .gradient_jump = 0.05},
      {.options = {.name = "resnet18"}, .gradient_jump = 0.05},
      {.options = {.name = "resnet50"}, .gradient_jump = 0.05},
      {{.name = "vgg16"}, {{"default", {{"type", "max"}, {"kernel", 2}}}}},
      {.options = {.name = "vgg16", .conv_bias = true, .head = "torchvision", .dropout = 0.0},
       .variant = "_torchvision"},
  };
}

class Torchvision : public testing::TestWithParam<Case> {
 protected:
  NetworkGolden golden() const {
    return NetworkGolden(GetParam().options, GetParam().pool, GetParam().gradient_jump, GetParam().variant);
  }
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
  if (!own.has("imagenet")) GTEST_SKIP() << "made in one form only";
  own.expect_imagenet_logits();
}

INSTANTIATE_TEST_SUITE_P(Networks, Torchvision, testing::ValuesIn(cases()),
                         [](const auto& one) { return one.param.name(); });

// As published: 25,557,032 parameters of ResNet-50, 138,365,992 of VGG-16 with torchvision's head, 65.9 million of
// HRNet-W48 (which its authors give with 696.2 GFLOPs at 1024x2048: multiply-adds in units of 2^30).
TEST(Counts, OfThePublishedNetworks) {
  const Json counts = read_json(std::string(TIDEPOOL_SOURCE_DIR) + "/tests/golden/network_counts.json");
  for (const auto& [name, facts] : counts.items()) {
    SCOPED_TRACE(name);
    NetworkOptions options{.name = name,
                           .classes = facts.at("classes").get<int64_t>(),
                           .input = {1, 3, facts.at("height").get<int64_t>(), facts.at("width").get<int64_t>()}};
    if (name == "vgg16") {
      options.head = "torchvision";
      options.conv_bias = true;
    }
    const auto network = make_network(options, Json::object());
    const Trace trace = network->trace();
    EXPECT_EQ(trace.parameters(), facts.at("parameters").get<int64_t>());
    EXPECT_EQ(trace.macs(), facts.at("macs").get<int64_t>());
    std::set<std::string> lines;
    for (const auto& [tensor, value] : network->state())
      lines.insert(fmt::format("{} {}\n", tensor, value.shape().str()));
    EXPECT_EQ(fmt::format("{:016x}", name_seed(fmt::format("{}", fmt::join(lines, "")))),
              facts.at("names").get<std::string>());
  }
}

// The function by which C++ and Python make the same weights, from known values: FNV-1a of "a" and SplitMix64.
TEST(HashedWeights, KnownValues) {
  EXPECT_EQ(HashedWords("").word(0), 0xc3817c016ba4ff30u);
  EXPECT_EQ(HashedWords("a").word(7), 0xa9b0700ece9cc85cu);
  EXPECT_EQ(HashedWords("a").unit(7), 0x1.4d8384p-2);
}

}  // namespace
}  // namespace tidepool
