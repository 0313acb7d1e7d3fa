// A run directory that the program of revision f5d96f0 wrote (DynOPool in VGG-16, moving average; stopped after 10 of
// 16 steps): today's program evaluates and resumes it, and its tensors keep their names.
#include <cmath>

#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class OldRun : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    std::filesystem::copy(std::string(TIDEPOOL_SOURCE_DIR) + "/tests/cli/old_run", file("old"));
  }
  nlohmann::json saved_result() const {
    std::ifstream in(file("old/result.json"));
    return nlohmann::json::parse(in);
  }
};

// Losses: other processors take other vectors, and round otherwise.
constexpr double kTolerance = 2e-3;

TEST_F(OldRun, Evaluates) {
  const nlohmann::json result = saved_result(), now = done({"eval", "old", "--json"}).json();
  EXPECT_EQ(now["images"], 40);
  EXPECT_NEAR(now["loss"].get<double>(), result["loss_last"].get<double>(), kTolerance);
  EXPECT_NEAR(now["top1"].get<double>(), result["top1_last"].get<double>(), 1.5 / 40);
}

TEST_F(OldRun, Resumes) {
  const std::map<std::string, Tensor> before = read("old/last.safetensors");
  const nlohmann::json result = done({"train", "--resume", "old", "--set", "train.max_steps=16", "--json"}).json();
  EXPECT_EQ(result["steps"], 16);
  EXPECT_NEAR(result["loss_last"].get<double>(), 2.99711389541626, kTolerance) << "as that program went on";
  const std::map<std::string, Tensor> after = read("old/last.safetensors");
  for (const auto& [name, value] : before) {
    ASSERT_TRUE(after.contains(name)) << name;
    EXPECT_EQ(after.at(name).shape(), value.shape()) << name;
  }
  EXPECT_EQ(after.size(), before.size());
}

}  // namespace
}  // namespace tidepool
