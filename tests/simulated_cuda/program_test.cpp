// The command line with the simulated device in the place of a GPU: the program's own objects.
#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class CudaProgram : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    write("run.json", R"({
      "data": {"name": "procedural", "train_images": 64, "test_images": 16, "workers": 1},
      "model": {"name": "vgg16", "width": 0.0625, "pool": {"default": {"type": "dynopool"}}},
      "optim": {"shape": {"lr": 0.02, "first_epoch": 0}},
      "train": {"epochs": 2, "batch": 8, "checkpoint_every": 3, "log_every": 5}
    })");
  }
  void expect_same_run(const std::string& a, const std::string& b) const {
    const auto x = read(a + "/last.safetensors"), y = read(b + "/last.safetensors");
    ASSERT_EQ(x.size(), y.size());
    for (const auto& [name, tensor] : x)
      EXPECT_EQ(std::memcmp(tensor.raw(), y.at(name).raw(), tensor.storage().bytes), 0) << name;
  }
};

TEST_F(CudaProgram, TrainsAndEvaluatesOnTheDeviceThatAutoFinds) {
  const nlohmann::json result = done({"train", "run.json", "--out", "a", "--json"}).json();
  EXPECT_EQ(result["steps"], 16);
  EXPECT_EQ(done({"eval", "a", "--json"}).json()["top1"], result["top1_last"]);
  const nlohmann::json cpu = done({"eval", "a", "--json", "--device", "cpu"}).json();
  EXPECT_NEAR(cpu["loss"].get<double>(), result["loss_last"].get<double>(), 1e-4);
  done({"train", "run.json", "--out", "b", "--device", "cuda"});
  expect_same_run("a", "b");
}

TEST_F(CudaProgram, KilledAndResumedEndsWithTheSameBits) {
  done({"train", "run.json", "--out", "whole", "--device", "cuda"});
  bool killed = false;
  for (int i = 0; i < 20 && !std::filesystem::exists(file("parts/result.json")); ++i) {
    const pid_t child =
        start(std::filesystem::exists(file("parts"))
                  ? std::vector<std::string>{"train", "run.json", "--out", "parts", "--device", "cuda", "--resume"}
                  : std::vector<std::string>{"train", "run.json", "--out", "parts", "--device", "cuda"});
    usleep(static_cast<useconds_t>(400000 + 300000 * i));
    killed = kill(child, SIGKILL) == 0 || killed;
    finish(child);
  }
  done({"train", "run.json", "--out", "parts", "--device", "cuda", "--resume"});
  EXPECT_TRUE(killed);
  expect_same_run("whole", "parts");
}

TEST_F(CudaProgram, TrainsTheRowsOfATable) {
  const nlohmann::json rows =
      done({"table", "1", "--scale", "smoke", "--only", "plain-vgg16-human,plain-vgg16-dynopool", "--set",
            "train.device=cuda", "--set", "train.max_steps=8", "--out", "table", "--json"})
          .json()["rows"];
  ASSERT_EQ(rows.size(), 2u);
  for (const nlohmann::json& row : rows) EXPECT_EQ(row["seeds"], 1) << row;
}

TEST_F(CudaProgram, TheBarSaysNoLossThatNobodyHasRead) {
  const Outcome run = run_on_terminal(120, {"train", "run.json", "--out", "a", "--device", "cuda"});
  EXPECT_EQ(run.status, 0) << run.out;
  EXPECT_NE(run.out.find("images/s"), std::string::npos) << run.out;
  EXPECT_EQ(run.out.find("loss 0.000"), std::string::npos) << run.out;
}

TEST_F(CudaProgram, PoolsPictures) {
  done({"data", "preview", "shapes", "--images", "2", "--output", "s.png"});
  const auto results = [&](const char* device) {
    return done({"pool", "s.png", "--op", "max,soft,dynopool,lip", "--device", device, "--json"})
        .json()["pictures"][0]["results"];
  };
  const nlohmann::json here = results("cpu"), there = results("cuda");
  ASSERT_EQ(there.size(), 4u);
  for (size_t i = 0; i < there.size(); ++i)
    EXPECT_NEAR(there[i]["psnr"].get<double>(), here[i]["psnr"].get<double>(), 1e-3) << there[i]["op"];
}

TEST_F(CudaProgram, RunsAnOperatorAndAStepOfBench) {
  write("x.st", {{"x", Tensor::from<float>({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, {1, 1, 4, 4})}});
  done({"op", "max", "--input", "x.st", "--output", "y.st", "--device", "cuda"});
  EXPECT_EQ(read("y.st").at("y").values(), (std::vector<double>{6, 8, 14, 16}));
  done({"bench", "step", "run.json", "--steps", "1", "--set", "train.device=cuda"});
}

}  // namespace
}  // namespace tidepool
