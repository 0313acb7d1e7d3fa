// Training from the command line: what a run leaves, Ctrl-C, and a run that is killed again and again.
#include <chrono>
#include <map>
#include <sstream>
#include <thread>

#include "core/philox.h"
#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class TrainCommand : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    write("run.json", R"({
      "data": {"name": "procedural", "train_images": 160, "test_images": 40, "workers": 1},
      "model": {"name": "vgg16", "width": 0.0625, "pool": {"default": {"type": "dynopool"}}},
      "optim": {"groups": [{"match": "*.alpha", "lr": 0.02, "weight_decay": 0, "first_epoch": 0}]},
      "train": {"epochs": 4, "batch": 16, "checkpoint_every": 3, "log_every": 5}
    })");
  }

  // Weights, optimizer state and where the run stands: everything but the times in the metadata.
  void expect_same_run(const std::string& a, const std::string& b) const {
    const auto x = read(a + "/last.safetensors"), y = read(b + "/last.safetensors");
    ASSERT_EQ(x.size(), y.size());
    for (const auto& [name, tensor] : x) {
      ASSERT_TRUE(y.contains(name)) << name;
      EXPECT_EQ(std::memcmp(tensor.raw(), y.at(name).raw(), tensor.storage().bytes), 0) << name;
    }
  }
};

TEST_F(TrainCommand, TrainsEvaluatesAndSays) {
  const nlohmann::json result = done({"train", "run.json", "--out", "a", "--json"}).json();
  for (const char* key : {"top1_last", "top1_best", "loss_last", "gmacs", "parameters", "steps", "seconds",
                          "images_per_second", "peak_bytes", "shapes"})
    EXPECT_TRUE(result.contains(key)) << key;
  EXPECT_EQ(result["steps"], 40);
  EXPECT_EQ(nlohmann::json::parse(text_of(file("a/result.json"))), result);
  const nlohmann::json run = nlohmann::json::parse(text_of(file("a/provenance.json")));
  for (const char* key : {"command", "revision", "libraries", "seed", "version"}) EXPECT_TRUE(run.contains(key)) << key;

  const nlohmann::json evaluated = done({"eval", "a", "--json", "--output", "logits.st"}).json();
  EXPECT_EQ(evaluated["top1"], result["top1_last"]) << "what was trained is what is evaluated";
  EXPECT_EQ(evaluated["images"], 40);
  EXPECT_EQ(read("logits.st").at("logits").shape(), (Dims{40, 20}));
  EXPECT_TRUE(result["top1_best"].is_null());
  const nlohmann::json fewer = done({"eval", "a/last.safetensors", "--json", "--set", "data.test_images=20"}).json();
  EXPECT_EQ(fewer["images"], 20);

  // The saved config is a config, and with it the run repeats itself.
  done({"train", "a/config.json", "--out", "b"});
  expect_same_run("a", "b");
  EXPECT_EQ(done({"train", "run.json", "--out", "a", "--resume", "--json"}).json()["top1_last"], result["top1_last"]);
}

// A daemon has no standard streams, a log's disk may be full: the run goes on, and nothing gets into its files.
TEST_F(TrainCommand, NeedsNoOneToListen) {
  const std::string program = std::string(TIDEPOOL_BINARY) + " ";
  EXPECT_EQ(shell(program + "nonsense 2>/dev/full").status, 2);
  EXPECT_EQ(shell(program + "nonsense 2>&-").status, 2);
  EXPECT_EQ(shell(program + "train run.json --out full >/dev/null 2>/dev/full").status, 0);
  shell(program + "train run.json --out closed <&- >&- 2>&-");
  expect_same_run("full", "closed");
  std::istringstream lines(text_of(file("closed/shapes.csv")));
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count)
    EXPECT_EQ(std::count(line.begin(), line.end(), ','), 4) << line;
  EXPECT_GT(count, 10u);
  EXPECT_EQ(text_of(file("closed/.lock")), "");
}

TEST_F(TrainCommand, WhatIsWrittenReplacesNoFileOfARun) {
  done({"train", "run.json", "--out", "a", "--set", "train.max_steps=2"});
  const std::string config = text_of(file("a/config.json"));
  for (const char* name : {"a/config.json", "a/last.safetensors", "a/log.jsonl"}) {
    expect_refused({"export", "a", "--to", "onnx", name}, {name});
    expect_refused({"eval", "a", "--output", name}, {name});
  }
  EXPECT_EQ(text_of(file("a/config.json")), config);
  done({"export", "a", "--to", "safetensors", "a/weights.safetensors"});
}

TEST_F(TrainCommand, RefusesWhatWouldHarmARun) {
  done({"train", "run.json", "--out", "a", "--set", "train.max_steps=2"});
  const std::string before = text_of(file("a/last.safetensors"));
  expect_refused({"train", "run.json", "--out", "a"}, {"a", "--resume"});
  expect_refused({"train", "run.json", "--out", "a", "--resume", "--set", "train.batch=8"},
                 {"train.batch was 16, is 8"});
  expect_refused({"train", "run.json", "--out", "run.json"}, {"run.json", "expected a folder"});
  expect_refused({"eval", "a", "--output", "a/last.safetensors"}, {"--output", "the checkpoint itself"});
  expect_refused({"eval", "a", "--set", "model.width=0.125"},
                 {"features.0.weight", "expected the shape 8x3x3x3, got 4x3x3x3"});
  write("a/last.safetensors", before.substr(0, before.size() / 2));
  expect_refused({"train", "run.json", "--out", "a", "--resume"}, {"last.safetensors", "outside the file"});
  expect_refused({"eval", "a"}, {"last.safetensors"});
  write("x.st", {{"x", Tensor::full({1}, 1)}});
  expect_refused({"eval", "x.st"}, {"x.st", "expected a checkpoint of tidepool"});
}

TEST_F(TrainCommand, EvaluatesTheMovingAverage) {
  const nlohmann::json result =
      done({"train", "run.json", "--out", "a", "--set", "optim.ema=0.95", "--set", "data.val_images=32", "--json"})
          .json();
  const nlohmann::json last = done({"eval", "a", "--json"}).json();
  EXPECT_EQ(last["loss"], result["loss_last"]);
  EXPECT_EQ(last["top1"], result["top1_last"]);
  EXPECT_EQ(done({"eval", "a/best.safetensors", "--json"}).json()["top1"], result["top1_best"]);
  // The average and the weights differ, and the shapes of the result are those of the network that was evaluated.
  std::map<std::string, Tensor> tensors = read("a/last.safetensors");
  EXPECT_NE(tensors.at("classifier.weight").values(), tensors.at("state/average/classifier.weight").values());
  const auto metadata = read_safetensors(file("a/last.safetensors")).metadata;
  std::map<std::string, Tensor> averages;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with("state/average/")) averages[name.substr(14)] = tensor;
  write_safetensors(file("averages.st"), {averages, metadata});
  EXPECT_EQ(done({"eval", "averages.st", "--json"}).json(), last);
  tensors.erase("state/average/pool1.alpha");
  write_safetensors(file("partly.st"), {tensors, metadata});
  expect_refused({"eval", "partly.st"}, {"missing: state/average/pool1.alpha"});
}

TEST_F(TrainCommand, NormalisesAsTheRunDid) {
  const nlohmann::json result = done({"train", "run.json", "--out", "a", "--json"}).json();
  const auto config_of = [&](const std::string& run) {
    return nlohmann::json::parse(text_of(file(run + "/config.json")));
  };
  const nlohmann::json numbers = config_of("a")["data"]["normalize"];
  for (const char* key : {"mean", "std"}) EXPECT_EQ(numbers.at(key).size(), 3u);
  EXPECT_EQ(nlohmann::json::parse(read_safetensors(file("a/last.safetensors")).metadata.at("normalize")), numbers);
  EXPECT_EQ(done({"info", "a/config.json", "--json"}).json()["normalize"], numbers);
  EXPECT_EQ(done({"info", "run.json", "--json"}).json()["normalize"], numbers) << "the images are there";
  EXPECT_EQ(done({"info", "cifar100_vgg16.json", "--set", "model.width=0.1", "--json"}).json()["normalize"], "measure");

  // Other training images change nothing, unless they are to be measured.
  const auto loss = [&](const std::string& set) { return done({"eval", "a", "--set", set, "--json"}).json()["loss"]; };
  EXPECT_EQ(loss("data.train_images=20"), result["loss_last"]);
  const std::vector<std::string> measured{
      "eval", "a", "--set", "data.train_images=20", "--set", "data.normalize=measure", "--json"};
  EXPECT_NE(done(measured).json()["loss"], result["loss_last"]);
  EXPECT_NE(loss("data.normalize=imagenet"), result["loss_last"]);

  done({"train", "run.json", "--out", "named", "--set", "data.normalize=cifar100", "--set", "train.max_steps=1"});
  EXPECT_EQ(config_of("named")["data"]["normalize"]["mean"], (std::vector<double>{0.5071, 0.4865, 0.4409}));
  EXPECT_EQ(config_of("named")["data"]["normalize"]["std"], (std::vector<double>{0.2673, 0.2564, 0.2762}));
  done({"train", "run.json", "--out", "given", "--set", R"(data.normalize={"mean": [0, 0.1, 0.2], "std": [1, 1, 2]})",
        "--set", "train.max_steps=1"});
  EXPECT_EQ(config_of("given")["data"]["normalize"],
            nlohmann::json::parse(R"({"mean": [0, 0.1, 0.2], "std": [1, 1, 2]})"));

  const auto refused = [&](const std::string& value, const std::vector<std::string>& words) {
    expect_refused({"train", "run.json", "--out", "b", "--set", "data.normalize=" + value}, words);
  };
  refused("imagnet", {"data.normalize", "measure, cifar100, imagenet", "did you mean 'imagenet'"});
  refused(R"({"mean": [0, 0], "std": [1, 1, 1]})", {"data.normalize.mean", "3 numbers, one per channel of procedural"});
  refused(R"({"mean": [0, 0, 0]})", {"data.normalize", "needs a key 'std'"});
  refused(R"({"mean": [0, 0, 0], "std": [1, 0, 1]})", {"data.normalize.std.1", ">= 1e-06"});
  refused("7", {"data.normalize", "expected one of measure, cifar100, imagenet or an object"});
  expect_refused({"info", "run.json", "--set", R"(data.normalize={"mean": [0], "std": [1]})"}, {"data.normalize.mean"});
}

TEST_F(TrainCommand, TiesAreOnePredictionPerImage) {
  done({"train", "run.json", "--out", "a", "--set", "train.max_steps=0"});
  SafetensorsFile last = read_safetensors(file("a/last.safetensors"));
  last.tensors.at("classifier.weight").fill(0);
  write_safetensors(file("tied.st"), last);
  const nlohmann::json tied = done({"eval", "tied.st", "--output", "logits.st", "--json"}).json();
  for (const double logit : read("logits.st").at("logits").values()) ASSERT_EQ(logit, 0);
  EXPECT_EQ(tied["top1"], 0.05) << "the images of class 0 of 20";
  EXPECT_EQ(tied["top5"], 0.25);
}

TEST_F(TrainCommand, EvalRefusesAnotherNetwork) {
  done({"train", "run.json", "--out", "a", "--set", "train.max_steps=1"});
  expect_refused({"eval", "a", "--set", R"(model.pool={"default": {"type": "max", "kernel": 2}})"},
                 {"last.safetensors", "do not fit the network", "left over: pool1.alpha, pool2.alpha"});
  done({"train", "run.json", "--out", "max", "--set", "train.max_steps=1", "--set",
        R"(model.pool={"default": {"type": "max", "kernel": 2}})", "--set", "optim.groups=[]"});
  expect_refused({"eval", "max", "--set", "model.pool.pool2.type=dynopool"}, {"missing: pool2.alpha"});
  expect_refused({"eval", "max", "--set", "model.conv_bias=true"}, {"missing: features.0.bias", "features.40.bias"});
  done({"eval", "max", "--set", "model.pool.default.type=avg"});  // the tensors fit
}

TEST_F(TrainCommand, ResumesARunByItsDirectory) {
  done({"train", "run.json", "--out", "whole", "--set", "optim.lr=0.03"});
  done({"train", "run.json", "--out", "a", "--set", "optim.lr=0.03", "--set", "train.max_steps=7"});
  std::filesystem::remove(file("run.json"));  // the run has everything
  done({"train", "--resume", "a", "--set", "train.max_steps=null", "--set", "data.workers=0"});
  expect_same_run("whole", "a");
  EXPECT_EQ(nlohmann::json::parse(text_of(file("a/config.json")))["optim"]["lr"], 0.03);

  const std::string before = text_of(file("a/config.json"));
  for (const auto& [set, words] :
       std::map<std::string, std::string>{{"optim.lr=0.1", "optim.lr was 0.03, is 0.1"},
                                          {"data.variant.type=tile", "data.variant.type was \"none\", is \"tile\""},
                                          {"data.normalize=imagenet", "data.normalize"}})
    expect_refused({"train", "--resume", "a", "--set", set}, {"a", "--resume with another config", words});
  expect_refused({"train", "--resume", "a", "--seed", "9"}, {"train.seed was 1, is 9"});
  EXPECT_EQ(text_of(file("a/config.json")), before);

  write("other.json", before);
  expect_refused({"train", "--resume", "a", "--out", "b"}, {"--out", "a is a run directory already"});
  expect_refused({"train", "--resume", "absent"}, {"absent: expected a run directory to resume", "there is neither"});
  expect_refused({"train", "--resume", "a/last.safetensors"}, {"a checkpoint; --resume takes its run directory, a"});
  std::filesystem::create_directories(file("empty"));
  expect_refused({"train", "--resume", "empty"}, {"empty", "holds no config.json"});
  expect_refused({"train", "other.json", "--resume", "--out", "empty"}, {"empty", "holds no config.json"});
  expect_refused({"train", "other.json", "--resume", "--out", "absent"}, {"absent", "holds no config.json"});

  // Killed before its first checkpoint: from the start.
  for (const char* name : {"last.safetensors", "best.safetensors", "result.json"})
    std::filesystem::remove(file("a") / name);
  done({"train", "--resume", "a"});
  expect_same_run("whole", "a");
}

TEST_F(TrainCommand, FindsTheDataOfTheRun) {
  std::string train, test;  // in CIFAR-100's layout
  Random random(3, 0);
  for (int image = 0; image < 100; ++image) {
    std::string& file = image < 80 ? train : test;
    file += {'\0', static_cast<char>(random.below(100))};
    for (int i = 0; i < 3072; ++i) file += static_cast<char>(random.below(256));
  }
  write("elsewhere/cifar-100-binary/train.bin", train);
  write("elsewhere/cifar-100-binary/test.bin", test);
  write("cifar.json", R"({"model": {"width": 0.0625}, "optim": {"lr": 0.01}, "train": {"epochs": 2, "batch": 16}})");
  const nlohmann::json result =
      done({"train", "cifar.json", "--data", "elsewhere", "--out", "a", "--set", "train.max_steps=6", "--json"}).json();
  EXPECT_EQ(nlohmann::json::parse(text_of(file("a/config.json")))["data"]["root"],
            file("elsewhere/cifar-100-binary").string());
  EXPECT_EQ(done({"eval", "a", "--json"}).json()["loss"], result["loss_last"]);
  std::filesystem::rename(file("a"), file("moved"));
  EXPECT_EQ(done({"eval", "moved", "--json"}).json()["loss"], result["loss_last"]);
  EXPECT_EQ(done({"train", "--resume", "moved", "--set", "train.max_steps=null", "--json"}).json()["steps"], 10);
  done({"train", "cifar.json", "--out", "moved", "--resume"});
  std::filesystem::rename(file("elsewhere"), file("there"));
  expect_refused({"eval", "moved"}, {"cifar100", "elsewhere", "data.root"});
  done({"eval", "moved", "--data", "there"});
}

// Checkpoint and config as a program wrote them that knew neither data.normalize nor the folder of the data.
TEST_F(TrainCommand, ARunOfAnOlderProgramEvaluates) {
  const nlohmann::json result = done({"train", "run.json", "--out", "a", "--json"}).json();
  SafetensorsFile last = read_safetensors(file("a/last.safetensors"));
  nlohmann::json config = nlohmann::json::parse(last.metadata.at("config"));
  config["data"].erase("normalize");
  config["data"].erase("root");
  last.metadata["config"] = config.dump();
  last.metadata.erase("normalize");
  write_safetensors(file("a/last.safetensors"), last);
  write("a/config.json", config.dump());
  EXPECT_EQ(done({"eval", "a", "--json"}).json()["loss"], result["loss_last"]);
  EXPECT_EQ(done({"train", "--resume", "a", "--json"}).json()["loss_last"], result["loss_last"]);
}

TEST_F(TrainCommand, ALossThatIsNotFiniteIsAFailure) {
  const Outcome outcome = run({"train", "run.json", "--out", "a", "--set", "optim.lr=1e30", "--json", "--set",
                               "optim.schedule.warmup_epochs=0"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.err.find("step 2: the loss is"), std::string::npos) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(file("a/result.json")));
}

TEST_F(TrainCommand, CtrlCSavesAndResumesBitEqual) {
  done({"train", "run.json", "--out", "whole"});
  const pid_t child = start({"train", "run.json", "--out", "parts"});
  while (!std::filesystem::exists(file("parts/last.safetensors")))
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  kill(child, SIGINT);
  const Outcome stopped = finish(child);
  EXPECT_EQ(stopped.status, 130) << stopped.err;
  EXPECT_NE(stopped.err.find("`tidepool train --resume parts`"), std::string::npos) << stopped.err;
  EXPECT_FALSE(std::filesystem::exists(file("parts/result.json")));
  done({"train", "--resume", "parts"});
  expect_same_run("whole", "parts");

  const pid_t second = start({"train", "run.json", "--out", "term"});
  while (!std::filesystem::exists(file("term/last.safetensors")))
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  kill(second, SIGTERM);
  EXPECT_EQ(finish(second).status, 143);
}

// A promise to users: killed at any moment, resumed, and the very same weights at the end.
TEST_F(TrainCommand, KilledTwentyTimesAndResumedIsBitEqual) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  done({"train", "run.json", "--out", "whole", "--set", "data.val_images=40"});
  double whole = std::chrono::duration<double>(Clock::now() - begin).count();
  Random random(20261122, 0);
  int killed = 0;
  for (int attempt = 0; killed < 20; ++attempt) {
    ASSERT_LT(attempt, 200);
    std::vector<std::string> call{"train", "run.json", "--out", "parts", "--set", "data.val_images=40"};
    if (std::filesystem::exists(file("parts/config.json"))) call = {"train", "--resume", "parts"};
    const pid_t child = start(call);
    // Up to the whole run's length: start-up, steps, evaluations and checkpoints are all hit.
    std::this_thread::sleep_for(std::chrono::duration<double>(0.6 * whole * random.uniform()));
    kill(child, SIGKILL);
    const Outcome outcome = finish(child);
    if (outcome.status == 1000 + SIGKILL) {
      ++killed;
    } else {  // it was done before the kill came: from the start again, in a new folder
      ASSERT_EQ(outcome.status, 0) << outcome.err;
      expect_same_run("whole", "parts");
      std::filesystem::remove_all(file("parts"));
      whole = std::max(0.2, 0.7 * whole);  // the first run may have been slow: other work ran beside it
    }
  }
  done({"train", "--resume", "parts"});
  expect_same_run("whole", "parts");
  for (const char* key : {"top1_last", "top1_best", "val_top1_last", "val_top1_best", "loss_last"})
    EXPECT_EQ(nlohmann::json::parse(text_of(file("parts/result.json")))[key],
              nlohmann::json::parse(text_of(file("whole/result.json")))[key])
        << key;
  std::set<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(file("parts"))) {
    left.insert(entry.path().filename());
    EXPECT_NE(entry.path().extension(), ".tmp") << "half-written files of the kills are cleared away";
  }
  for (const char* name : {"config.json", "last.safetensors", "best.safetensors", "result.json", "log.jsonl"})
    EXPECT_TRUE(left.contains(name)) << name;
}

TEST_F(TrainCommand, StepsSeeTheImagesInTheFilesOrder) {
  done({"train", "run.json", "--out", "a", "--set", "data.augment=none", "--set", "data.shuffle=false", "--set",
        "train.max_steps=3"});
  done({"train", "run.json", "--out", "b", "--set", "data.augment=none", "--set", "data.shuffle=false", "--set",
        "train.max_steps=3", "--set", "data.train_images=100"});
  const auto first_loss = [&](const char* log) {
    return nlohmann::json::parse(text_of(file(log)).substr(0, text_of(file(log)).find('\n')))["loss"].get<double>();
  };
  // The statistics of the data differ a little with the number of images, the images of step 1 do not.
  EXPECT_NEAR(first_loss("a/log.jsonl"), first_loss("b/log.jsonl"), 0.05);
}

TEST_F(TrainCommand, InfoCountsTheFullNetwork) {
  const nlohmann::json info = done({"info", "cifar100_vgg16.json", "--json", "--set", "train.batch=2"}).json();
  EXPECT_EQ(info["macs"], 313247744);       // 313.2 M
  EXPECT_EQ(info["parameters"], 14770212);  // 14.77 M
  EXPECT_EQ(info["gmacs_penalty"].get<double>(), 0.313247744);
  EXPECT_GT(info["saved_bytes"].get<int64_t>(), 0);
  EXPECT_GT(info["peak_bytes"].get<int64_t>(), info["saved_bytes"].get<int64_t>());
  int64_t saved = 0, parameters = 0, macs = 0;
  for (const auto& layer : info["layers"]) {
    for (const char* key : {"name", "kind", "output", "parameters", "macs", "saved_bytes"})
      EXPECT_TRUE(layer.contains(key)) << key;
    saved += layer["saved_bytes"].get<int64_t>();
    parameters += layer["parameters"].get<int64_t>();
    macs += layer["macs"].get<int64_t>();
  }
  EXPECT_EQ(parameters, info["parameters"]);
  EXPECT_EQ(macs, info["macs"]);
  EXPECT_LE(saved, info["saved_bytes"]);
}

TEST_F(TrainCommand, BenchStepPrintsItsKeys) {
  const nlohmann::json bench =
      done({"bench", "step", "run.json", "--steps", "2", "--set", "train.batch=8", "--json"}).json();
  for (const char* key : {"images_per_second", "evaluation_images_per_second", "convolutions_images_per_second",
                          "direct_images_per_second", "share", "milliseconds", "milliseconds_p99"})
    EXPECT_GT(bench[key].get<double>(), 0) << key;
  EXPECT_GT(bench["peak_bytes"].get<int64_t>(), 0);
  EXPECT_GT(bench["resident_bytes"].get<int64_t>(), 0);
  for (const char* kind : {"convolution forward", "convolution backward data", "convolution backward weights", "norm",
                           "pooling", "loss", "optimizer", "other"})
    EXPECT_TRUE(bench["kinds"].contains(kind)) << kind << " in " << bench["kinds"];
  EXPECT_GT(bench["work"]["convolution forward"]["bytes"].get<double>(), 0);
  EXPECT_GT(bench["work"]["convolution forward"]["multiply_adds"].get<double>(), 0);
  EXPECT_GT(bench["machine"]["copy_gbps"].get<double>(), 0);
  EXPECT_GT(bench["machine"]["gflops"].get<double>(), 0);
  EXPECT_GT(bench["changing"]["milliseconds_p99"].get<double>(), 0) << "the config has shape parameters";
  // On a processor whose oneDNN has no convolutions of bf16 these alone are missing.
  const nlohmann::json halves = done({"bench", "step", "run.json", "--steps", "1", "--set", "train.batch=8", "--set",
                                      "train.dtype=bf16", "--json"})
                                    .json();
  EXPECT_GT(halves["images_per_second"].get<double>(), 0);
  EXPECT_TRUE(halves["direct_images_per_second"].is_null() || halves["direct_images_per_second"].get<double>() > 0);
  const nlohmann::json fixed = done({"bench", "step", "run.json", "--steps", "1", "--set", "train.batch=8", "--set",
                                     R"(model.pool={"default": {"type": "max"}})", "--json"})
                                   .json();
  EXPECT_TRUE(fixed["changing"].is_null()) << "sizes of max pooling do not change";
}

TEST_F(TrainCommand, BenchConvHoldsTheContest) {
  const nlohmann::json contests =
      done({"bench", "conv", "run.json", "--steps", "1", "--set", "train.batch=4", "--json"}).json();
  ASSERT_EQ(contests.size(), 3u * 13 - 1) << "three directions a layer; nobody wants the images' gradient";
  for (const auto& contest : contests) {
    EXPECT_GT(contest["direct_ms"].get<double>(), 0);
    EXPECT_GT(contest["f4_ms"].get<double>(), 0);
    EXPECT_GE(contest["lost"].get<double>(), 0);
  }
  const nlohmann::json exact =
      done({"bench", "conv", "run.json", "--steps", "1", "--set", "train.batch=4", "--set", "math=exact", "--json"})
          .json();
  for (const auto& contest : exact) EXPECT_EQ(contest["chosen"], "direct");
}

// Depthwise convolutions and those of single points are rows like any other, in which Winograd's tiles have no part.
TEST_F(TrainCommand, BenchConvListsEveryConvolution) {
  const nlohmann::json contests = done({"bench", "conv", "cifar100_efficientnet_b0.json", "--steps", "1", "--set",
                                        "train.batch=2", "--set", "model.width=0.1", "--json"})
                                      .json();
  ASSERT_EQ(contests.size(), 3u * 81 - 1);
  for (const char* name : {"features.1.0.block.0.0", "features.2.0.block.0.0"}) {  // depthwise 3x3, pointwise
    int rows = 0;
    for (const auto& contest : contests) {
      if (contest["layer"] != name) continue;
      ++rows;
      EXPECT_GT(contest["direct_ms"].get<double>(), 0);
      EXPECT_TRUE(contest["f4_ms"].is_null()) << contest;
    }
    EXPECT_EQ(rows, 3) << name;
  }
}

TEST_F(TrainCommand, AProfileIsATableAndATrace) {
  const std::vector<std::string> call{"train", "run.json", "--out", "a", "--set", "train.max_steps=3", "--profile"};
  const std::string text = done(call).out;
  for (const char* word : {"convolution forward", "optimizer", "input", "evaluation", "trace.json"})
    EXPECT_NE(text.find(word), std::string::npos) << word << " in " << text;
  const nlohmann::json trace = nlohmann::json::parse(text_of(file("a/trace.json")));
  double end = 0;
  size_t spans = 0;
  std::map<std::string, std::string> names;  // what the viewers write beside the rows
  for (const auto& event : trace["traceEvents"]) {
    if (event["ph"] == "M") names[event["name"]] = event["args"]["name"];
    if (event["ph"] != "X") continue;
    EXPECT_EQ(event["tid"], 1);
    EXPECT_GE(event["ts"].get<double>(), end - 1) << "one thing after the other";
    end = event["ts"].get<double>() + event["dur"].get<double>();
    ++spans;
  }
  EXPECT_GT(spans, 100u);
  EXPECT_EQ(names["process_name"], "tidepool");
  EXPECT_EQ(names["thread_name"], "kinds of work");
  done({"train", "run.json", "--out", "b", "--set", "train.max_steps=3"});
  expect_same_run("a", "b");  // being watched changes nothing
}

TEST_F(TrainCommand, ExactMathIsAnotherRounding) {
  const auto losses = [&](const std::string& out, const std::string& math) {
    done({"train", "run.json", "--out", out, "--set", "train.max_steps=3", "--set", "model.width=0.25", "--set",
          "math=" + math});
    std::vector<double> values;
    std::istringstream lines(text_of(file(out + "/log.jsonl")));
    for (std::string line; std::getline(lines, line);)
      if (const auto json = nlohmann::json::parse(line); json.contains("loss")) values.push_back(json["loss"]);
    return values;
  };
  const auto fast = losses("fast", "fast"), exact = losses("exact", "exact");
  ASSERT_EQ(fast.size(), 3u);
  // A loss may round to the same number.
  const auto one = read("fast/last.safetensors"), other = read("exact/last.safetensors");
  EXPECT_NE(one.at("features.3.weight").values(), other.at("features.3.weight").values());
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(fast[i], exact[i], 1e-3 * exact[i]);
}

}  // namespace
}  // namespace tidepool
