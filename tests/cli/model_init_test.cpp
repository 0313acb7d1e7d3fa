// model.init: a run that starts from the weights of a file.
#include <cmath>
#include <cstring>

#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class ModelInit : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    write_tiny_config();
  }

  // A run of no step, whose weights are those that it starts from.
  Outcome start_run(const std::string& out, const std::vector<std::string>& sets,
                    const std::string& steps = "0") const {
    std::vector<std::string> call{"train", "tiny.json", "--out", out, "--set", "train.max_steps=" + steps};
    for (const std::string& set : sets) call.insert(call.end(), {"--set", set});
    return done(call);
  }
  void refuse(const std::vector<std::string>& sets, const std::vector<std::string>& words) const {
    std::vector<std::string> call{"train", "tiny.json"};
    for (const std::string& set : sets) call.insert(call.end(), {"--set", set});
    expect_refused(call, words);
  }
  static void expect_same(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [name, tensor] : a) {
      ASSERT_TRUE(b.contains(name)) << name;
      EXPECT_EQ(tensor.values(), b.at(name).values()) << name;
    }
  }
  static bool says(const Outcome& outcome, const std::string& words) {
    return outcome.err.find(words) != std::string::npos;
  }
};

TEST_F(ModelInit, ARunAndItsFilesAreWeights) {
  start_run("a", {"train.seed=7", "data.val_images=10"}, "3");
  const auto trained = weights("a/last.safetensors");
  start_run("seed", {});
  EXPECT_NE(weights("seed/last.safetensors").at("features.0.weight").values(),
            trained.at("features.0.weight").values());
  for (const auto& [out, name] : {std::pair("from-run", "a"), {"from-file", "a/last.safetensors"}}) {
    const Outcome outcome = start_run(out, {std::string("model.init=") + name});
    expect_same(weights(std::string(out) + "/last.safetensors"), trained);
    EXPECT_TRUE(says(outcome, "model.init: a/last.safetensors: ")) << outcome.err;
    EXPECT_TRUE(says(outcome, fmt::format("{0} of the network's {0} tensors", trained.size()))) << outcome.err;
  }
  EXPECT_EQ(nlohmann::json::parse(text_of(file("from-run/config.json")))["model"]["init"], "a");
  EXPECT_EQ(nlohmann::json::parse(text_of(file("seed/config.json")))["model"]["init"], nullptr);
  start_run("best", {"model.init=a/best.safetensors"});
  expect_same(weights("best/last.safetensors"), weights("a/best.safetensors"));
  std::filesystem::create_directories(file("home"));
  write("home/b.safetensors", trained);
  start_run("home-run", {"model.init=~/home/b.safetensors"});
  expect_same(weights("home-run/last.safetensors"), trained);
}

TEST_F(ModelInit, TheMovingAverageIsTaken) {
  start_run("a", {"optim.ema=0.5"}, "3");
  const auto saved = read("a/last.safetensors");
  start_run("b", {"model.init=a"});
  for (const auto& [name, tensor] : weights("b/last.safetensors"))
    EXPECT_EQ(tensor.values(), saved.at("state/average/" + name).values()) << name;
}

// As torchvision writes one: other element types, counters of batch norms, no metadata.
TEST_F(ModelInit, StateDictsOfOtherTypes) {
  start_run("a", {}, "2");
  const auto trained = weights("a/last.safetensors");
  for (const DType dtype : {DType::f64, DType::bf16}) {
    std::map<std::string, Tensor> state, expected;
    for (const auto& [name, tensor] : trained) {
      state[name] = tensor.to(dtype);
      expected[name] = state[name].to(DType::f32);
      if (const size_t at = name.find("running_mean"); at != std::string::npos)
        state[name.substr(0, at) + "num_batches_tracked"] = Tensor::from<int64_t>({3}, {});
    }
    write("state.safetensors", state);
    const std::string out = name_of(dtype);
    EXPECT_FALSE(says(start_run(out, {"model.init=state.safetensors"}), "left over"));
    expect_same(weights(out + "/last.safetensors"), expected);
  }
  // f16, which this program does not write: halves of 1.5, one tensor behind the other.
  nlohmann::json header = nlohmann::json::object();
  size_t bytes = 0;
  for (const auto& [name, tensor] : trained) {
    const size_t end = bytes + 2 * static_cast<size_t>(tensor.numel());
    header[name] = {{"dtype", "F16"},
                    {"shape", std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())},
                    {"data_offsets", {bytes, end}}};
    bytes = end;
  }
  const std::string text = header.dump();
  const uint64_t length = text.size();
  std::string file_bytes(8, '\0');
  std::memcpy(file_bytes.data(), &length, 8);
  file_bytes += text;
  for (size_t i = 0; i < bytes; i += 2) file_bytes += std::string("\x00\x3e", 2);
  write("half.safetensors", file_bytes);
  start_run("half", {"model.init=half.safetensors"});
  for (const auto& [name, tensor] : weights("half/last.safetensors"))
    for (const double v : tensor.values()) ASSERT_EQ(v, 1.5) << name;
}

TEST_F(ModelInit, EveryTensorThatDoesNotFitIsNamed) {
  start_run("a", {});
  auto state = weights("a/last.safetensors");
  state.erase("features.0.weight");
  state["extra.weight"] = Tensor::full({2}, 1);
  state["classifier.weight"] = Tensor::full({3, 32}, 1);
  state["features.1.bias"] = Tensor::from<int64_t>({1, 2, 3, 4}, {4});
  write("state.safetensors", state);
  refuse({"model.init=state.safetensors"},
         {"model.init: state.safetensors", "missing: features.0.weight", "left over: extra.weight",
          "tensor 'classifier.weight': expected the shape 20x32, got 3x32",
          "tensor 'features.1.bias': expected f32, got i64", "model.strict=false"});
  refuse({"model.init=a", "model.width=0.125"}, {"model.init: a/last.safetensors", "tensor 'features.0.weight'"});
  refuse({"model.init=a", "model.pool.default.type=dynopool"}, {"model.init", "missing: pool1.alpha, pool2.alpha"});
}

TEST_F(ModelInit, FineTuningKeepsWhatFits) {
  start_run("a", {}, "2");
  const auto trained = weights("a/last.safetensors");
  start_run("seed", {"model.classes=30", "model.pool.default.type=dynopool"});
  const auto fresh = weights("seed/last.safetensors");
  const Outcome outcome =
      start_run("b", {"model.init=a", "model.strict=false", "model.classes=30", "model.pool.default.type=dynopool"});
  const auto mixed = weights("b/last.safetensors");
  ASSERT_EQ(mixed.size(), fresh.size());
  for (const auto& [name, tensor] : mixed) {
    const bool kept = name.starts_with("classifier.") || name.ends_with(".alpha");
    EXPECT_EQ(tensor.values(), (kept ? fresh : trained).at(name).values()) << name;
  }
  for (const char* name : {"'classifier.weight': expected the shape 30x32, got 20x32", "'classifier.bias'"}) {
    const size_t first = outcome.err.find(name);
    EXPECT_NE(first, std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find(name, first + 1), std::string::npos) << "once: " << outcome.err;
  }
  EXPECT_TRUE(says(outcome, "4 missing, with their initial values: pool1.alpha, pool2.alpha")) << outcome.err;
  // What is left over is named too.
  const Outcome back = start_run("c", {"model.init=seed", "model.strict=false", "model.classes=30"});
  EXPECT_TRUE(says(back, "4 left over: pool1.alpha")) << back.err;
}

TEST_F(ModelInit, ResumingNeverReadsItAgain) {
  start_run("a", {"train.seed=7"}, "2");
  start_run("whole", {"model.init=a"}, "4");
  for (const char* stopped_after : {"0", "2"}) {
    const std::string out = std::string("parts") + stopped_after;
    start_run(out, {"model.init=a"}, stopped_after);
    std::filesystem::rename(file("a"), file("away"));
    done({"train", "--resume", out, "--set", "train.max_steps=4"});
    done({"eval", out});
    std::filesystem::rename(file("away"), file("a"));
    expect_same(read(out + "/last.safetensors"), read("whole/last.safetensors"));
  }
  const auto another = [&](const std::string& set) {
    expect_refused({"train", "--resume", "whole", "--set", set}, {"--resume with another config", set.substr(0, 8)});
  };
  another("model.init=b");
  another("model.strict=false");
}

// A run that is killed in its first steps has a checkpoint: those of model.init may be gone when it is resumed.
TEST_F(ModelInit, TheStartIsSaved) {
  start_run("a", {"train.seed=7"}, "1");
  const pid_t child =
      start({"train", "tiny.json", "--out", "b", "--set", "model.init=a", "--set", "train.epochs=100000"});
  for (int i = 0; i < 1200 && !std::filesystem::exists(file("b/last.safetensors")); ++i) usleep(50000);
  kill(child, SIGKILL);
  finish(child);
  ASSERT_TRUE(std::filesystem::exists(file("b/last.safetensors")));
  std::filesystem::remove_all(file("a"));
  done({"train", "--resume", "b", "--set", "train.max_steps=200"});
}

TEST_F(ModelInit, BadFiles) {
  start_run("a", {});
  write("text.safetensors", "these are no tensors");
  write("empty/config.json", "{}");
  write("others.safetensors", {{"a.weight", Tensor::full({2}, 1)}, {"b.weight", Tensor::full({2}, 1)}});
  for (const char* strict : {"model.strict=true", "model.strict=false"}) {
    refuse({"model.init=none.safetensors", strict}, {"model.init: none.safetensors: no such file"});
    refuse({"model.init=none/none.safetensors", strict}, {"model.init: none/none.safetensors: no such file"});
    refuse({"model.init=text.safetensors", strict}, {"model.init: text.safetensors: not a safetensors file"});
    refuse({"model.init=empty", strict}, {"model.init: empty", "run directory", "holds no last.safetensors"});
    refuse({"model.init=others.safetensors", strict},
           {"model.init: others.safetensors: none of its tensors fits the network",
            "missing: ", "left over: a.weight, b.weight"});
  }
  refuse({"model.init=3"}, {"model.init", "expected a string or null, got 3"});
  refuse({"model.init=a", "model.strict=1"}, {"model.strict", "expected true or false, got 1"});
  refuse({"model.inti=a"}, {"model.inti", "did you mean 'model.init'"});
  expect_refused({"info", "tiny.json", "--set", "model.strict=maybe"}, {"model.strict", "maybe"});
}

// A network whose names are torchvision's: what is saved has those names alone beside state/.
TEST_F(ModelInit, EfficientNetTakesAStateDict) {
  const std::vector<std::string> sets{"model.name=efficientnet_b0", "model.width=0.1", "model.stem=imagenet"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), sets.begin(), sets.end());
    return more;
  };
  start_run("a", with({"train.seed=7"}), "1");
  auto state = weights("a/last.safetensors");
  for (const char* name : {"features.0.0.weight", "features.0.1.running_var", "features.1.0.block.0.0.weight",
                           "features.1.0.block.1.fc1.bias", "features.8.1.weight", "classifier.1.weight"})
    EXPECT_TRUE(state.contains(name)) << name;
  const auto trained = state;
  for (const auto& [name, tensor] : trained)
    if (const size_t at = name.find("running_mean"); at != std::string::npos)
      state[name.substr(0, at) + "num_batches_tracked"] = Tensor::from<int64_t>({1}, {});
  write("state.safetensors", state);
  start_run("b", with({"model.init=state.safetensors"}));
  expect_same(weights("b/last.safetensors"), trained);
  state["features.0.2.num_batches_tracked"] = Tensor::from<int64_t>({1}, {});  // of no batch norm
  write("state.safetensors", state);
  std::vector<std::string> call{"train", "tiny.json"};
  for (const std::string& set : with({"model.init=state.safetensors"})) call.insert(call.end(), {"--set", set});
  expect_refused(call, {"left over: features.0.2.num_batches_tracked"});
}

}  // namespace
}  // namespace tidepool
