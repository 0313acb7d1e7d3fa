// Whole runs: logs, checkpoints, bit-equal resumption, a loss that is not finite, steady memory.
#include "train/run.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/allocator.h"
#include "core/safetensors.h"
#include "data/normalisation.h"
#include "tests/scratch_folder.h"
#include "train/run_directory.h"
#include "train/step.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

class RunTest : public ScratchFolder {
 protected:
  Config config(std::vector<std::string> sets = {}) const {
    const std::string base = R"({
      "name": "test",
      "data": {"name": "procedural", "train_images": 80, "test_images": 40, "workers": 1},
      "model": {"name": "vgg16", "width": 0.0625, "pool": {"default": {"type": "dynopool"}}},
      "loss": {"gmacs_lambda": 1},
      "optim": {"groups": [{"match": "*.alpha", "lr": 0.05, "weight_decay": 0, "first_epoch": 0}], "ema": 0.9},
      "train": {"epochs": 3, "batch": 32, "log_every": 2, "checkpoint_every": 2}
    })";
    return load_config_text(base, "test", sets);
  }
  RunOptions options(const char* name, bool resume = false) const {
    RunOptions o;
    o.out = folder_ / name;
    o.resume = resume;
    return o;
  }
  static std::vector<Json> log_of(const fs::path& run) {
    std::vector<Json> lines;
    std::ifstream in(run / "log.jsonl");
    for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
    return lines;
  }
};

void expect_same_tensors(const fs::path& a, const fs::path& b) {
  const SafetensorsFile x = read_safetensors(a), y = read_safetensors(b);
  ASSERT_EQ(x.tensors.size(), y.tensors.size());
  for (const auto& [name, tensor] : x.tensors) {
    ASSERT_TRUE(y.tensors.contains(name)) << name;
    const Tensor& other = y.tensors.at(name);
    ASSERT_EQ(tensor.shape(), other.shape()) << name;
    EXPECT_EQ(std::memcmp(tensor.raw(), other.raw(), static_cast<size_t>(tensor.numel()) * size_of(tensor.dtype())), 0)
        << name;
  }
}

TEST_F(RunTest, WritesWhatCliMdPromises) {
  const RunResult result = train_run(config(), options("a"));
  EXPECT_TRUE(result.finished);
  EXPECT_EQ(result.steps, 9);  // 80 images in batches of 32: 3 per epoch, the last one of 16
  EXPECT_TRUE(result.metric_last());
  EXPECT_FALSE(result.best) << "nothing is chosen on the test images";
  EXPECT_TRUE(result.json().at("top1_best").is_null());
  for (const char* name :
       {"config.json", "log.jsonl", "shapes.csv", "last.safetensors", "result.json", "provenance.json"})
    EXPECT_TRUE(fs::exists(folder_ / "a" / name)) << name;
  EXPECT_FALSE(fs::exists(folder_ / "a" / "best.safetensors"));
  int64_t step = 0;
  for (const Json& line : log_of(folder_ / "a")) {
    if (!line.contains("loss")) continue;
    EXPECT_EQ(line.at("step").get<int64_t>(), ++step);
    EXPECT_NEAR(line.at("loss").get<double>(), line.at("task_loss").get<double>() + line.at("gmacs_loss").get<double>(),
                1e-12);
    if (step % 2 == 0) {
      EXPECT_TRUE(line.contains("shapes"));
      const Json& slope = line.at("shape_gradients").at("pool1.alpha").at(0);
      EXPECT_TRUE(slope.contains("mean_over_standard_error"));
    }
  }
  EXPECT_EQ(step, 9);
  const SafetensorsFile last = read_safetensors(folder_ / "a" / "last.safetensors");
  EXPECT_EQ(last.metadata.at("step"), "9");
  EXPECT_TRUE(last.tensors.contains("state/optimizer/pool1.alpha/momentum"));
  EXPECT_TRUE(last.tensors.contains("state/average/classifier.weight"));
  EXPECT_NE(last.tensors.at("pool1.alpha").values()[0], 2) << "the shapes were to move";
  const RunResult read = RunResult::from_json(*RunDirectory(folder_ / "a", true).result(), find_task("classification"));
  EXPECT_EQ(read.json(), result.json());
}

// mu as the log has it: that of the step's loss, from 0, and each follows from the one before and the cost.
TEST_F(RunTest, ABudgetIsLoggedSavedAndResumed) {
  const std::vector<std::string> sets{"loss.gmacs_lambda=0", "loss.gmacs_target=0.0005", "loss.gmacs_rate=0.1",
                                      "optim.ema=null"};
  const RunResult whole = train_run(config(sets), options("whole"));
  EXPECT_EQ(whole.gmacs_target, 0.0005);
  EXPECT_EQ(whole.json().at("gmacs_target"), 0.0005);
  double mu = 0;
  int lines = 0;
  for (const Json& line : log_of(folder_ / "whole")) {
    if (!line.contains("loss")) continue;
    if (lines++ > 0) mu = std::max(0.0, mu + 0.1 * (line.at("gmacs_loss").get<double>() - 1));
    EXPECT_NEAR(line.at("gmacs_multiplier").get<double>(), mu, 1e-12);
    EXPECT_NEAR(line.at("loss").get<double>(),
                line.at("task_loss").get<double>() + mu * line.at("gmacs_loss").get<double>(), 1e-12);
  }
  EXPECT_GT(mu, 0);
  const SafetensorsFile last = read_safetensors(folder_ / "whole" / "last.safetensors");
  EXPECT_NEAR(last.tensors.at("state/gmacs_multiplier").item(), std::max(0.0, mu + 0.1 * (whole.gmacs / 0.0005 - 1)),
              1e-12);
  EXPECT_FALSE(last.tensors.contains("state/gmacs_unit"));

  RunOptions cut = options("parts");
  int steps = 0;
  cut.stop = [&] { return ++steps >= 5; };
  EXPECT_FALSE(train_run(config(sets), cut).finished);
  train_run(config(sets), options("parts", /*resume=*/true));
  expect_same_tensors(folder_ / "whole" / "last.safetensors", folder_ / "parts" / "last.safetensors");

  const RunResult initial = train_run(
      config({"loss.gmacs_lambda=0", "loss.gmacs_target=initial", "loss.gmacs_control=projection", "optim.ema=null"}),
      options("initial"));
  EXPECT_EQ(log_of(folder_ / "initial").front().at("gmacs_loss"), 1);
  EXPECT_FALSE(log_of(folder_ / "initial").front().contains("gmacs_multiplier"));
  ASSERT_TRUE(initial.gmacs_target);
  EXPECT_NEAR(initial.gmacs / *initial.gmacs_target, 1, 0.05);
}

// Stopped in the middle of an epoch, where the second stage begins, and behind that.
TEST_F(RunTest, LearnersAndStagesResumeBitForBit) {
  const std::vector<std::vector<std::string>> all{
      {"optim.shape.learner.type=differences", "optim.shape.log=true", "optim.shape.normalize=0.9"},
      {"optim.shape.learner.type=stochastic", "optim.shape.learner.estimate=score", "optim.groups.0.every=2"},
      {"optim.shape.learner.type=stochastic", "optim.shape.retrain_after=2"}};
  for (size_t i = 0; i < all.size(); ++i) {
    SCOPED_TRACE(fmt::format("{}", fmt::join(all[i], " ")));
    const std::string whole = fmt::format("whole{}", i);
    train_run(config(all[i]), options(whole.c_str()));
    const SafetensorsFile last = read_safetensors(folder_ / whole / "last.safetensors");
    EXPECT_NE(last.tensors.at("pool1.alpha").values()[0], 2) << "the shapes were to move";
    EXPECT_EQ(last.tensors.contains("state/shape/mean_loss"), i == 1);
    for (const int stop_after : {4, 6, 8}) {
      const std::string name = fmt::format("parts{}-{}", i, stop_after);
      RunOptions cut = options(name.c_str());
      int steps = 0;
      cut.stop = [&] { return ++steps >= stop_after; };
      EXPECT_FALSE(train_run(config(all[i]), cut).finished);
      train_run(config(all[i]), options(name.c_str(), /*resume=*/true));
      expect_same_tensors(folder_ / whole / "last.safetensors", folder_ / name / "last.safetensors");
    }
  }
  EXPECT_TRUE(log_of(folder_ / "whole0").at(0).contains("shape_forwards"));
}

// The second stage is the training of a fresh network with the sizes that the first one found.
TEST_F(RunTest, TheSecondStageTrainsAFreshNetworkWithTheSizesOfTheFirst) {
  const Config c = config({"optim.shape.retrain_after=1", "optim.ema=null", "loss.gmacs_lambda=0", "data.val_images=16",
                           "optim.groups.0.lr=0.3"});
  const RunResult result = train_run(c, options("a"));
  const SafetensorsFile last = read_safetensors(folder_ / "a" / "last.safetensors");
  const auto network = make_run_network(c);
  bool moved = false;
  for (const Parameter& p : network->parameters())
    if (p.kind == ParameterKind::shape) {
      const Tensor& learned = last.tensors.at(p.name);
      moved |= p.value.values() != learned.values();
      p.value.copy_from(learned);
    }
  EXPECT_TRUE(moved);
  network->project();
  const auto task = make_task(c, *network);
  const RunData data = open_data(c.data, {});
  Loader loader(data.train, data.normalisation, loader_options(c, true));
  const int64_t per_epoch = loader.batches();
  Optimizer optimizer(c.optim, network->parameters(), per_epoch, 3 * per_epoch);
  Stepper stepper(*network, *task, optimizer, c.loss, c.train.seed);
  TensorBatch batch;
  for (int64_t epoch = 1, step = per_epoch; epoch < 3; ++epoch) {
    loader.start_epoch(epoch);
    while (loader.next(batch)) stepper.step(batch, step++);
  }
  for (const auto& [name, value] : network->state()) EXPECT_EQ(value.values(), last.tensors.at(name).values()) << name;
  EXPECT_TRUE(result.best) << "chosen in the second stage";
  EXPECT_GT(std::stoll(read_safetensors(folder_ / "a" / "best.safetensors").metadata.at("step")), per_epoch);
}

TEST_F(RunTest, TheSecondStageBeginsWithTheWeightsThatTheFirstBeganWith) {
  train_run(config({"train.max_steps=2"}), options("before"));
  const auto with = [&](const char* name) {
    fs::copy_file(folder_ / "before" / "last.safetensors", folder_ / name);
    return config({"optim.shape.retrain_after=1", fmt::format("model.init={}", (folder_ / name).string())});
  };
  train_run(with("init.safetensors"), options("whole"));
  const Config c = with("gone.safetensors");
  RunOptions cut = options("parts");
  cut.stop = [] { return true; };
  train_run(c, cut);
  fs::remove(folder_ / "gone.safetensors");
  train_run(c, options("parts", /*resume=*/true));
  expect_same_tensors(folder_ / "whole" / "last.safetensors", folder_ / "parts" / "last.safetensors");
}

// The unit is what the network cost at step 0, whatever it costs when a run is resumed.
TEST_F(RunTest, ThePenaltyInUnitsOfItsInitialValue) {
  const std::vector<std::string> sets{"loss.gmacs_unit=initial", "optim.groups.0.lr=0.2"};
  const RunResult whole = train_run(config(sets), options("whole"));
  const std::vector<Json> log = log_of(folder_ / "whole");
  EXPECT_EQ(log.front().at("gmacs_loss"), 1);
  const double unit = read_safetensors(folder_ / "whole" / "last.safetensors").tensors.at("state/gmacs_unit").item();
  EXPECT_NE(whole.gmacs, unit) << "the shapes were to move";
  EXPECT_NEAR(log.front().at("loss").get<double>(), log.front().at("task_loss").get<double>() + 1, 1e-12);

  RunOptions cut = options("parts");
  int steps = 0;
  cut.stop = [&] { return ++steps >= 5; };
  EXPECT_FALSE(train_run(config(sets), cut).finished);
  train_run(config(sets), options("parts", /*resume=*/true));
  expect_same_tensors(folder_ / "whole" / "last.safetensors", folder_ / "parts" / "last.safetensors");

  // One lambda in another unit is the same run: the gradient has the unit too.
  const RunResult giga =
      train_run(config({"optim.groups.0.lr=0.2", fmt::format("loss.gmacs_lambda={}", 1 / unit)}), options("giga"));
  EXPECT_EQ(giga.shapes, whole.shapes);
  EXPECT_NEAR(*giga.loss_last, *whole.loss_last, 1e-3 * *whole.loss_last);
  EXPECT_FALSE(read_safetensors(folder_ / "giga" / "last.safetensors").tensors.contains("state/gmacs_unit"));

  SafetensorsFile file = read_safetensors(folder_ / "parts" / "last.safetensors");
  file.tensors.erase("state/gmacs_unit");
  write_safetensors(folder_ / "parts" / "last.safetensors", file);
  EXPECT_THROW(train_run(config(sets), options("parts", true)), Error);
}

// What the log has of evaluations: the keys that begin with `prefix`.
std::vector<Json> evaluations(const std::vector<Json>& log, const std::string& prefix) {
  std::vector<Json> found;
  for (const Json& line : log)
    if (line.contains(prefix + "top1")) found.push_back(line);
  return found;
}

TEST_F(RunTest, AValidationPartChoosesTheBestAndTheTestComesLast) {
  const Config validated = config({"data.val_images=16", "train.epochs=5", "optim.lr=0.02"});
  const RunResult result = train_run(validated, options("a"));
  EXPECT_EQ(result.steps, 10);  // 64 images in batches of 32
  const std::vector<Json> log = log_of(folder_ / "a");
  const std::vector<Json> watched = evaluations(log, "val_"), tested = evaluations(log, "test_");
  ASSERT_EQ(watched.size(), 5u);
  ASSERT_EQ(tested.size(), 2u);
  EXPECT_EQ(log[log.size() - 2], tested[0]);
  EXPECT_EQ(tested[0].at("weights"), "last");
  EXPECT_EQ(tested[1].at("weights"), "best");
  // The first of the best epochs on the validation part is the one that is kept.
  double best = -1;
  int64_t step = 0;
  for (const Json& line : watched) {
    EXPECT_FALSE(line.contains("test_top1"));
    if (line.at("val_top1").get<double>() <= best) continue;
    best = line.at("val_top1").get<double>();
    step = line.at("step").get<int64_t>();
  }
  EXPECT_EQ(result.validation_best, best);
  EXPECT_EQ(result.validation_last, watched.back().at("val_top1").get<double>());
  const SafetensorsFile chosen = read_safetensors(folder_ / "a" / "best.safetensors");
  EXPECT_EQ(chosen.metadata.at("step"), std::to_string(step));
  // The result is of the test images, by both weights.
  const auto on_test = [&](const char* file) {
    const auto network = make_run_network(validated);
    const auto task = make_task(validated, *network);
    load_weights(read_safetensors(folder_ / "a" / file), *network, file);
    const RunData data = open_data(validated.data, {});
    Loader loader(data.test, data.normalisation, loader_options(validated, false));
    return evaluate(*network, *task, loader);
  };
  const Evaluation last = on_test("last.safetensors");
  EXPECT_EQ(result.metric_last(), last.metrics[0]);
  EXPECT_EQ(result.loss_last, last.loss);
  EXPECT_EQ(result.best, on_test("best.safetensors").metrics[0]);
  EXPECT_EQ(tested[1].at("test_top1").get<double>(), result.best);
  const RunResult read = RunResult::from_json(*RunDirectory(folder_ / "a", true).result(), find_task("classification"));
  EXPECT_EQ(read.json(), result.json());
  for (const char* key : {"top1_last", "top1_best", "val_top1_last", "val_top1_best"})
    EXPECT_TRUE(result.json().at(key).is_number()) << key;
  // Resumed after its end it looks at nothing again.
  EXPECT_EQ(train_run(validated, options("a", true)).json(), result.json());
  EXPECT_EQ(log_of(folder_ / "a").size(), log.size());
}

TEST_F(RunTest, AValidationPartIsNotTrainedOn) {
  const RunData data = open_data(config({"data.val_images=16"}).data, {});
  ASSERT_TRUE(data.validation);
  EXPECT_EQ(data.train->size(), 64);
  EXPECT_EQ(data.validation->size(), 16);
  // Only what is trained on is measured.
  const RunData whole = open_data(config().data, {});
  EXPECT_FALSE(whole.validation);
  EXPECT_NE(data.normalisation.mean, whole.normalisation.mean);
  EXPECT_EQ(data.normalisation.mean, measure_normalisation(*data.train, {}).mean);
  EXPECT_EQ(measured_normalize(config({"data.val_images=16"}).data, {}), data.normalize);
  // Another train.seed, the same part; another val_seed, another.
  const auto labels = [](const RunData& d) {
    std::vector<int32_t> all;
    for (int64_t i = 0; i < d.validation->size(); ++i) all.push_back(d.validation->label(i));
    return all;
  };
  EXPECT_EQ(labels(open_data(config({"data.val_images=16", "train.seed=9"}).data, {})), labels(data));
  EXPECT_NE(labels(open_data(config({"data.val_images=16", "data.val_seed=1"}).data, {})), labels(data));
}

TEST_F(RunTest, StoppedWithAValidationPartItEndsAlike) {
  const std::vector<std::string> sets{"data.val_images=16"};
  const RunResult whole = train_run(config(sets), options("whole"));
  RunResult result;
  for (int64_t parts = 0; !result.finished; ++parts) {
    ASSERT_LT(parts, 60);
    RunOptions o = options("parts", parts > 0);
    int64_t asked = 0;  // also between the last evaluation and the test, and within the test
    o.stop = [&] { return ++asked > 1 + parts % 12; };
    result = train_run(config(sets), o);
  }
  for (const char* file : {"last.safetensors", "best.safetensors"})
    expect_same_tensors(folder_ / "whole" / file, folder_ / "parts" / file);
  EXPECT_EQ(result.best, whole.best);
  EXPECT_EQ(result.last, whole.last);
  EXPECT_EQ(result.validation_best, whole.validation_best);
  const auto a = log_of(folder_ / "whole"), b = log_of(folder_ / "parts");
  EXPECT_EQ(evaluations(a, "val_"), evaluations(b, "val_"));
  EXPECT_EQ(evaluations(a, "test_"), evaluations(b, "test_"));
}

TEST_F(RunTest, RefusesAFolderThatHoldsARun) {
  train_run(config({"train.max_steps=1"}), options("a"));
  EXPECT_THROW(train_run(config(), options("a")), Error);
  try {
    train_run(config({"optim.lr=0.2"}), options("a", true));
    FAIL() << "another config was accepted";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("optim.lr was 0.1, is 0.2"), std::string::npos) << e.what();
  }
}

TEST_F(RunTest, RefusesACheckpointWithoutItsConfig) {
  train_run(config({"train.max_steps=1"}), options("a"));
  fs::create_directories(folder_ / "b");
  fs::copy_file(folder_ / "a" / "last.safetensors", folder_ / "b" / "last.safetensors");
  try {
    train_run(config(), options("b"));
    FAIL() << "the checkpoint was taken for this run's";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("config.json is gone"), std::string::npos) << e.what();
  }
}

// What train.max_steps cut in the middle of an epoch is evaluated there; the run that goes on does not choose by it.
TEST_F(RunTest, ALengthenedRunChoosesAsTheUncutOneDoes) {
  const auto with = [&](const char* max_steps) {
    return config({"data.val_images=16", "loss.gmacs_lambda=0", fmt::format("train.max_steps={}", max_steps)});
  };
  const RunResult whole = train_run(with("null"), options("whole"));
  for (const char* cut : {"1", "3"}) {  // 64 images in batches of 32: two steps per epoch
    SCOPED_TRACE(cut);
    EXPECT_TRUE(train_run(with(cut), options(cut)).best) << "a run as short as that has nothing else";
    const RunResult longer = train_run(with("null"), options(cut, true));
    EXPECT_EQ(longer.best, whole.best);
    EXPECT_EQ(longer.validation_best, whole.validation_best);
    EXPECT_EQ(read_safetensors(folder_ / cut / "best.safetensors").metadata.at("step"),
              read_safetensors(folder_ / "whole" / "best.safetensors").metadata.at("step"));
  }
}

TEST_F(RunTest, ResumesOnlyARun) {
  fs::create_directories(folder_ / "empty");
  for (const char* name : {"absent", "empty"}) {
    EXPECT_THROW(train_run(config(), options(name, true)), Error);
    EXPECT_FALSE(fs::exists(folder_ / name / ".lock")) << "nothing is written";
  }
}

// What older programs saved, before the run's numbers and folder of data stood in its config.
TEST_F(RunTest, ARunOfAnOlderProgramResumes) {
  train_run(config(), options("whole"));
  train_run(config({"train.max_steps=4"}), options("old"));
  Json saved = read_json(folder_ / "old" / "config.json");
  saved["data"].erase("normalize");
  saved["data"].erase("root");
  std::ofstream(folder_ / "old" / "config.json") << saved.dump();
  train_run(config(), options("old", true));
  expect_same_tensors(folder_ / "whole" / "last.safetensors", folder_ / "old" / "last.safetensors");
  EXPECT_TRUE(read_json(folder_ / "old" / "config.json")["data"]["normalize"].is_object());
}

TEST_F(RunTest, ResumesWithItsOwnNormalisation) {
  train_run(config({"train.max_steps=4"}), options("a"));
  Json saved = read_json(folder_ / "a" / "config.json");
  Json& numbers = saved["data"]["normalize"];
  EXPECT_EQ(numbers["from"], "measure");
  numbers["mean"] = {0.5, 0.25, 0.125};
  std::ofstream(folder_ / "a" / "config.json") << saved.dump();
  train_run(config(), options("a", true));  // where "measure" stands the saved numbers are meant
  const SafetensorsFile last = read_safetensors(folder_ / "a" / "last.safetensors");
  for (const Json& at :
       {read_json(folder_ / "a" / "config.json")["data"]["normalize"],
        Json::parse(last.metadata.at("config"))["data"]["normalize"], Json::parse(last.metadata.at("normalize"))})
    EXPECT_EQ(at, numbers);
  for (const char* other : {"data.normalize=imagenet", R"(data.normalize={"mean": [0, 0, 0], "std": [1, 1, 1]})"}) {
    try {
      train_run(config({other}), options("a", true));
      FAIL() << other << " was accepted";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("data.normalize"), std::string::npos) << e.what();
    }
  }
  train_run(config({"data.normalize=" + numbers.dump()}), options("a", true));
}

TEST_F(RunTest, ProvenanceKeepsTheFirstCommand) {
  RunOptions o = options("a");
  o.provenance = {{"command", "first"}};
  train_run(config({"train.max_steps=1"}), o);
  o.resume = true;
  for (const char* command : {"second", "third"}) {
    o.provenance = {{"command", command}};
    train_run(config({"train.max_steps=2"}), o);
  }
  const Json said = read_json(folder_ / "a" / "provenance.json");
  EXPECT_EQ(said["command"], "first");
  ASSERT_EQ(said["resumed"].size(), 2u);
  EXPECT_EQ(said["resumed"][1]["command"], "third");
}

TEST_F(RunTest, OneProcessAtATime) {
  const RunDirectory held(folder_ / "a", false);
  EXPECT_THROW(RunDirectory(folder_ / "a", true), Error);
}

TEST_F(RunTest, StoppedAfterEveryStepAndResumedIsBitEqual) {
  train_run(config(), options("whole"));
  int64_t parts = 0;
  for (bool finished = false; !finished; ++parts) {
    ASSERT_LT(parts, 40);
    RunOptions o = options("parts", parts > 0);
    int64_t asked = 0;  // asked after every step and evaluated batch: stopped after one to seven of them
    o.stop = [&] { return ++asked > parts % 7; };
    finished = train_run(config(), o).finished;
  }
  EXPECT_GE(parts, 5);
  expect_same_tensors(folder_ / "whole" / "last.safetensors", folder_ / "parts" / "last.safetensors");
  const auto whole = log_of(folder_ / "whole"), stepwise = log_of(folder_ / "parts");
  ASSERT_EQ(whole.size(), stepwise.size());
  for (size_t i = 0; i < whole.size(); ++i)
    if (whole[i].contains("loss")) {
      EXPECT_EQ(whole[i].at("loss"), stepwise[i].at("loss"));
      EXPECT_EQ(whole[i].value("shape_gradients", Json()), stepwise[i].value("shape_gradients", Json()));
    }
}

// Until then there is nothing to go on from, and the seed gives the start again.
TEST_F(RunTest, KilledBeforeItsFirstCheckpointBeginsAgain) {
  train_run(config({"train.max_steps=3"}), options("whole"));
  fs::copy(folder_ / "whole", folder_ / "killed", fs::copy_options::recursive);
  for (const char* name : {"last.safetensors", "best.safetensors", "result.json"})
    fs::remove(folder_ / "killed" / name);
  train_run(config({"train.max_steps=3"}), options("killed", true));
  expect_same_tensors(folder_ / "whole" / "last.safetensors", folder_ / "killed" / "last.safetensors");
  EXPECT_EQ(log_of(folder_ / "killed").size(), log_of(folder_ / "whole").size());
  const auto shapes = [&](const char* run) {
    std::ifstream in(folder_ / run / "shapes.csv");
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_EQ(shapes("killed"), shapes("whole"));
}

// A result is that of the whole run: a table would take that of a shorter one for it.
TEST_F(RunTest, AResultIsGoneWhileTheRunGoesOn) {
  train_run(config({"train.max_steps=2"}), options("a"));
  RunOptions o = options("a", true);
  o.stop = [] { return true; };
  EXPECT_FALSE(train_run(config(), o).finished);
  EXPECT_FALSE(fs::exists(folder_ / "a" / "result.json"));
}

// The first step does not wait for a checkpoint of what the seed gives.
TEST_F(RunTest, SavesNothingBeforeTheFirstStep) {
  RunOptions o = options("a");
  bool saved = true;
  o.stop = [&, asked = 0]() mutable {
    if (asked++ == 0) saved = fs::exists(folder_ / "a" / "last.safetensors");
    return false;
  };
  train_run(config({"train.max_steps=1"}), o);
  EXPECT_FALSE(saved);
}

TEST_F(RunTest, TheNumberOfWorkersDoesNotMatter) {
  train_run(config({"data.workers=0", "train.max_steps=4"}), options("none"));
  train_run(config({"data.workers=3", "train.max_steps=4"}), options("three"));
  expect_same_tensors(folder_ / "none" / "last.safetensors", folder_ / "three" / "last.safetensors");
}

TEST_F(RunTest, MaxStepsZeroHoldsTheInitialWeights) {
  const RunResult result = train_run(config({"train.max_steps=0"}), options("a"));
  EXPECT_EQ(result.steps, 0);
  EXPECT_FALSE(result.metric_last());
  const auto network = make_run_network(config());
  const SafetensorsFile last = read_safetensors(folder_ / "a" / "last.safetensors");
  for (const auto& [name, value] : network->state()) EXPECT_EQ(last.tensors.at(name).values(), value.values()) << name;
}

TEST_F(RunTest, ALogCutOffInTheMiddleOfALineIsFixed) {
  train_run(config({"train.max_steps=4"}), options("a"));
  std::ofstream(folder_ / "a" / "log.jsonl", std::ios::app) << "{\"step\":5,\"epo";
  std::ofstream(folder_ / "a" / "shapes.csv", std::ios::app) << "5,1,pool1.al";
  train_run(config({"train.max_steps=6"}), options("a", true));
  int64_t step = 0;
  for (const Json& line : log_of(folder_ / "a"))
    if (line.contains("loss")) {
      EXPECT_EQ(line.at("step").get<int64_t>(), ++step);
    }
  EXPECT_EQ(step, 6);
}

TEST_F(RunTest, ALossThatIsNotFiniteNamesStepAndLayer) {
  const Config c = config({"optim.lr=1e30", "optim.schedule.warmup_epochs=0"});
  try {
    train_run(c, options("a"));
    FAIL() << "a learning rate of 1e30 did no harm";
  } catch (const Failure& e) {
    const std::string what = e.what();
    EXPECT_EQ(what.find("step 2: the loss is "), 0u) << what;
    EXPECT_NE(what.find("the first value that is not finite stood in"), std::string::npos) << what;
  }
  EXPECT_FALSE(fs::exists(folder_ / "a" / "result.json"));

  // An infinite value in one running layer, with finite parameters.
  const auto network = make_run_network(config());
  for (const Parameter& p : network->parameters())
    if (p.name == "features.15.weight") p.value.fill(3e38);
  const auto task = make_task(config(), *network);
  Optimizer optimizer(config().optim, network->parameters(), 10, 10);
  Stepper stepper(*network, *task, optimizer, LossConfig{}, 1);
  const Tensor x = Tensor::full({4, 3, 32, 32}, 0.5);
  for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data<float>()[i] = static_cast<float>(i % 17) - 8;
  const TensorBatch batch{x.contiguous(MemoryFormat::channels_last), Tensor::from<int64_t>({0, 1, 2, 3}, {4})};
  try {
    stepper.step(batch, 6);
    FAIL() << "3e38 in a batch norm's weight did no harm";
  } catch (const Failure& e) {
    const std::string what = e.what();
    EXPECT_EQ(what.find("step 7: "), 0u) << what;
    EXPECT_NE(what.find("the layer features.15 (batch_norm"), std::string::npos) << what;
  }
}

TEST_F(RunTest, ASteadyStepTakesNothingFromTheSystem) {
  for (const bool changing : {false, true}) {
    Config c = config({"model.width=0.125"});
    const auto network = make_run_network(c);
    const auto task = make_task(c, *network);
    Optimizer optimizer(c.optim, network->parameters(), 1000, 1000);
    Stepper stepper(*network, *task, optimizer, LossConfig{}, 1);
    const Tensor x = Tensor::full({16, 3, 32, 32}, 0.5, {.format = MemoryFormat::channels_last});
    const TensorBatch batch{x, Tensor::full({16}, 1, {.dtype = DType::i64})};
    const auto set_shapes = [&](int64_t step) {
      if (!changing) return;
      int64_t i = 0;
      for (const Parameter& p : network->parameters())
        if (p.kind == ParameterKind::shape) {
          p.value.fill(1.7 + 0.6 * static_cast<double>((step * 7 + ++i * 3) % 11) / 10);
        }
    };
    uint64_t calls = 0;
    for (int64_t step = 0; step < 33; ++step) {  // the shapes come round every 11 steps
      if (step == 22) calls = Allocator::of(kCpu).stats().system_calls;
      set_shapes(step);
      stepper.step(batch, step);
    }
    EXPECT_EQ(Allocator::of(kCpu).stats().system_calls, calls) << (changing ? "changing sizes" : "fixed sizes");
  }
}

}  // namespace
}  // namespace tidepool
