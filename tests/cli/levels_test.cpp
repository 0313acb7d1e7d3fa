// A portable build (TIDEPOOL_PORTABLE): each level of the processor has kernels of its own, and they train alike.
#include <cmath>
#include <fstream>

#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class Levels : public CliTest {
 protected:
  std::vector<double> losses(const std::string& run) const {
    std::vector<double> losses;
    std::ifstream in(file(run + "/log.jsonl"));
    for (std::string line; std::getline(in, line);)
      if (const nlohmann::json entry = nlohmann::json::parse(line); entry.contains("loss"))
        losses.push_back(entry["loss"].get<double>());
    return losses;
  }
};

TEST_F(Levels, TrainAlike) {
  write("run.json", R"({
    "data": {"name": "procedural", "train_images": 128, "test_images": 16, "workers": 1},
    "model": {"name": "vgg16", "width": 0.125, "pool": {"default": {"type": "dynopool"}}},
    "optim": {"lr": 0.02, "shape": {"lr": 0.02, "first_epoch": 0}},
    "train": {"epochs": 1, "batch": 16, "log_every": 1}
  })");
  const std::string lower = "GLIBC_TUNABLES=glibc.cpu.hwcaps=";
  const std::vector<std::string> tunables = {"", lower + "-AVX512F", lower + "-AVX512F,-AVX2"};
  // Sums in other orders: the roundings of eight steps.
  for (const auto& [dtype, tolerance] : {std::pair("f32", 1e-3), std::pair("f64", 1e-10), std::pair("bf16", 5e-2)}) {
    std::map<std::string, std::vector<double>> by_level;
    for (const std::string& tunable : tunables) {
      const std::vector<std::string> environment = tunable.empty() ? std::vector<std::string>{} : std::vector{tunable};
      const std::string level = done({"doctor", "--json"}, environment).json()["devices"][0]["kernels"];
      if (by_level.contains(level)) continue;  // what is left out, this processor lacks
      const std::string out = level + "-" + dtype;
      done({"train", "run.json", "--out", out, "--set", std::string("train.dtype=") + dtype}, environment);
      by_level[level] = losses(out);
    }
    EXPECT_GE(by_level.size(), 2u) << "a processor of the lowest level shows nothing";
    const std::vector<double>& first = by_level.begin()->second;
    ASSERT_EQ(first.size(), 8u);
    for (const auto& [level, others] : by_level) {
      ASSERT_EQ(others.size(), first.size()) << level;
      for (size_t i = 0; i < first.size(); ++i)
        EXPECT_NEAR(others[i], first[i], tolerance * std::abs(first[i]))
            << dtype << ", " << level << ", step " << i + 1;
    }
  }
}

}  // namespace
}  // namespace tidepool
