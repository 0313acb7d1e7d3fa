// Where the steps of a run end and what they leave: resumption past the end, learned numbers at their bounds, sizes
// that change under an operator, divergence, and last batches that are not full.
#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "core/backend/reduction.h"
#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class TrainSteps : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    write_tiny_config();
  }

  static std::vector<std::string> training(const std::string& out, const std::vector<std::string>& sets) {
    std::vector<std::string> call{"train", "tiny.json", "--out", out};
    for (const std::string& set : sets) call.insert(call.end(), {"--set", set});
    return call;
  }
  static std::string pool(const std::string& places) { return "model.pool={" + places + "}"; }
  static std::string group(const std::string& match, const std::string& rest) {
    return R"(optim.groups=[{"match": ")" + match + R"(", )" + rest + "}]";
  }

  // A wrong request as expect_refused has it, ended after 60 seconds if it does not end by itself.
  void expect_refused_soon(const std::vector<std::string>& call, const std::vector<std::string>& words) const {
    const auto before = files();
    const pid_t child = start(call);
    siginfo_t ended{};
    for (int i = 0; i < 600 && ended.si_pid == 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT);
    }
    if (ended.si_pid == 0) kill(child, SIGKILL);
    const Outcome outcome = finish(child);
    EXPECT_EQ(outcome.status, 2) << outcome.err;
    for (const std::string& word : words)
      EXPECT_NE(outcome.err.find(word), std::string::npos) << word << " in: " << outcome.err;
    EXPECT_EQ(files(), before);
  }
  // Status 1, and one line that holds every word.
  void expect_failure(const std::vector<std::string>& call, const std::vector<std::string>& words) const {
    const Outcome outcome = run(call);
    EXPECT_EQ(outcome.status, 1) << outcome.err;
    for (const std::string& word : words)
      EXPECT_NE(outcome.err.find(word), std::string::npos) << word << " in: " << outcome.err;
  }
  void expect_finite(const std::string& checkpoint) const {
    for (const auto& [name, tensor] : read(checkpoint)) EXPECT_TRUE(all_finite(tensor)) << checkpoint << ": " << name;
  }
  void change(const std::string& checkpoint, const std::string& tensor, double value) const {
    const SafetensorsFile saved = read_safetensors(file(checkpoint));
    saved.tensors.at(tensor).fill(value);
    write_safetensors(file(checkpoint), saved);
  }
};

TEST_F(TrainSteps, ResumedPastItsEndIsRefused) {
  done(training("a", {}));
  const std::string before = text_of(file("a/last.safetensors")), config = text_of(file("a/config.json"));
  expect_refused_soon({"train", "tiny.json", "--out", "a", "--resume", "--set", "train.max_steps=5"},
                      {"a: has done 10 steps already", "train.max_steps", "after 5"});
  EXPECT_EQ(text_of(file("a/last.safetensors")), before);
  EXPECT_EQ(text_of(file("a/config.json")), config);
  for (const char* steps : {"10", "11", "9223372036854775807"})
    EXPECT_EQ(done({"train", "tiny.json", "--out", "a", "--resume", "--json", "--set",
                    std::string("train.max_steps=") + steps})
                  .json()["steps"],
              10);
}

TEST_F(TrainSteps, MoreStepsThanCanBeCountedAreRefused) {
  expect_refused_soon(training("a", {"train.epochs=4611686018427387904"}), {"train.epochs", "4611686018427387904"});
}

TEST_F(TrainSteps, ARunFromBeforeAKeyWasThereGoesOn) {
  done(training("a", {"train.max_steps=3"}));
  auto config = nlohmann::json::parse(text_of(file("a/config.json")));
  config["data"].erase("drop_last");
  write("a/config.json", config.dump());
  EXPECT_EQ(done({"train", "tiny.json", "--out", "a", "--resume", "--json"}).json()["steps"], 10);
}

// Updates that leave every bound: what is learned is brought back before it is read, and the run goes on.
TEST_F(TrainSteps, LearnedNumbersStayInTheirBounds) {
  struct Case {
    const char *op, *parameter;
    double low, high;
  };
  const double inf = std::numeric_limits<double>::infinity();
  for (const Case& c : {Case{R"("type": "dynopool")", "alpha", 0.5, 16},
                        Case{R"("type": "dynopool", "tied": true, "r_max": 0.9)", "alpha", 1 / 0.9, 16},
                        Case{R"("type": "diffstride", "smoothness": 0.5)", "stride", 1, 16},
                        Case{R"("type": "shape_adaptor")", "alpha", -inf, inf},
                        Case{R"("type": "gem", "learned": true)", "p", 1e-3, inf},
                        Case{R"("type": "lp", "learned": true)", "p", 1, inf},
                        Case{R"("type": "lse", "learned": true)", "b", 1e-3, inf}}) {
    SCOPED_TRACE(c.op);
    for (const double lr : {1.0, 1000.0}) {
      std::filesystem::remove_all(file("a"));
      done(training("a", {pool(std::string(R"("default": {)") + c.op + "}"),
                          group(std::string("*.") + c.parameter, fmt::format("\"lr\": {}", lr)), "train.max_steps=6",
                          "loss.gmacs_lambda=1"}));
      const auto saved = read("a/last.safetensors");
      for (int i = 1; i <= 4; ++i)
        for (const double v : saved.at(fmt::format("pool{}.{}", i, c.parameter)).values()) {
          EXPECT_GE(v, static_cast<double>(static_cast<float>(c.low)));
          EXPECT_LE(v, static_cast<double>(static_cast<float>(c.high)));
        }
    }
  }
}

TEST_F(TrainSteps, LoadedNumbersAreBroughtIntoTheirBounds) {
  const std::vector<std::string> sets{pool(R"("default": {"type": "dynopool"})")};
  done(training("a", {sets[0], "train.max_steps=3"}));
  change("a/last.safetensors", "pool2.alpha", -3);
  done({"eval", "a"});
  done({"train", "tiny.json", "--out", "a", "--resume", "--set", sets[0]});
  change("a/last.safetensors", "pool2.alpha", std::nan(""));
  expect_refused({"eval", "a"}, {"last.safetensors", "pool2.alpha", "not finite"});
  expect_refused({"train", "tiny.json", "--out", "a", "--resume", "--set", sets[0]},
                 {"last.safetensors", "pool2.alpha", "not finite"});
}

TEST_F(TrainSteps, ALearnedNumberThatIsNotFiniteIsAFailureWithItsName) {
  expect_failure(training("a", {pool(R"("default": {"type": "dynopool"})"), group("pool3.alpha", R"("lr": 1e300)")}),
                 {"step 1", "pool3.alpha", "not finite"});
  EXPECT_FALSE(std::filesystem::exists(file("a/last.safetensors")));
}

TEST_F(TrainSteps, OperatorsBoundToASizeAreRefusedBehindALearnedOne) {
  const std::string max = R"("default": {"type": "max"}, )";
  for (const char* learned :
       {R"("pool1": {"type": "dynopool"}, )", R"("pool1": {"type": "shape_adaptor", "alpha": 0}, )",
        R"("pool1": {"type": "diffstride", "smoothness": 2}, )"})
    for (const char* bound : {R"({"type": "ada", "per": "place"})", R"({"type": "space_to_depth"})"})
      for (const char* place : {"pool2", "pool3"}) {
        const std::string name = std::string(learned).find("diffstride") == std::string::npos ? "alpha" : "stride";
        expect_refused(training("a", {pool(max + learned + '"' + place + "\": " + bound)}),
                       {std::string("model.pool.") + place, "pool1." + name, "learned"});
      }
  // Fixed again, or never free.
  done(training("a", {pool(max + R"("pool1": {"type": "dynopool"}, "pool2": {"type": "adaptive_avg", "output_size": 8},
                                    "pool3": {"type": "ada", "per": "place"}, "pool4": {"type": "space_to_depth"})"),
                      "train.max_steps=1"}));
  done(training("b", {pool(max + R"("pool1": {"type": "dynopool", "r_min": 0.5, "r_max": 0.5},
                                    "pool2": {"type": "ada", "per": "place"})"),
                      "train.max_steps=1"}));
  done(training("c", {pool(max + R"("pool1": {"type": "ada", "per": "place"}, "pool2": {"type": "dynopool"})"),
                      "train.max_steps=1"}));
}

// What stands behind a learned size bounds it: where learning would make a map too small, the run goes on at the least
// size that fits.
TEST_F(TrainSteps, MapsThatLearningMakesSmallerStayLargeEnough) {
  const std::string max = R"("default": {"type": "max", "kernel": 1}, "pool1": {"type": "max"}, )";
  const std::vector<std::string> shrink{group("*.alpha", R"("lr": 1e6)"), "loss.gmacs_lambda=1000"};
  const auto train = [&](const std::string& out, const std::string& places, std::vector<std::string> more) {
    more.insert(more.begin(), shrink.begin(), shrink.end());
    more.push_back(pool(places));
    auto call = training(out, more);
    call.emplace_back("--json");
    return done(call).json();
  };
  for (const char* learned :
       {R"("pool2": {"type": "dynopool", "r_min": 0.01})",
        R"("pool2": {"type": "shape_adaptor", "grad": "straight_through", "r1": 0.01, "alpha": 0})"}) {
    const auto size = [&](const char* behind) {
      SCOPED_TRACE(std::string(learned) + behind);
      std::filesystem::remove_all(file("a"));
      return train("a", max + learned + behind, {"train.max_steps=2"})["shapes"]["pool2"];
    };
    const auto of = [](int64_t n) { return nlohmann::json{n, n}; };
    EXPECT_EQ(size(R"(, "pool4": {"type": "max", "kernel": 3, "stride": 2})"), of(3));
    EXPECT_EQ(size(R"(, "pool4": {"type": "spectral", "output_size": 6})"), of(6));
    EXPECT_EQ(size(R"(, "pool4": {"type": "fractional_max", "output_size": 6})"), of(7));
    EXPECT_EQ(size(R"(, "pool4": {"type": "s3", "grid": 4})"), of(2));
    EXPECT_EQ(size(R"(, "pool4": {"type": "blur", "kernel": 7, "stride": 1})"), of(4));
    EXPECT_EQ(size(R"(, "pool4": {"type": "max"})"), of(2));
  }
  // The learning rate that goes past the bound is that of a run that is resumed, too.
  const std::string places =
      max + R"("pool2": {"type": "dynopool"}, "pool3": {"type": "dynopool"}, "pool4": {"type": "max", "kernel": 3})";
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"optim.ema=0.5"}}) {
    std::filesystem::remove_all(file("whole"));
    std::filesystem::remove_all(file("parts"));
    train("whole", places, more);
    auto some = more;
    some.emplace_back("train.max_steps=3");
    train("parts", places, some);
    done({"train", "--resume", "parts", "--set", "train.max_steps=10"});
    const auto x = read("whole/last.safetensors"), y = read("parts/last.safetensors");
    ASSERT_EQ(x.size(), y.size());
    for (const auto& [name, tensor] : x) EXPECT_EQ(tensor.values(), y.at(name).values()) << name;
  }
  // A last batch of one image wants two pixels of a batch norm.
  EXPECT_EQ(train("b", R"("default": {"type": "max"}, "pool4": {"type": "dynopool"})",
                  {"data.train_images=41", "train.max_steps=7"})["shapes"]["pool4"],
            (nlohmann::json{1, 2}));
}

TEST_F(TrainSteps, ASizeThatBeginsBeyondItsBoundsIsRefused) {
  const auto pool1 = [](const std::string& keys) {
    return pool(R"("default": {"type": "max"}, "pool1": {"type": "dynopool", )" + keys + "}");
  };
  expect_refused(training("a", {pool1(R"("r_max": 0.1)")}),
                 {"model.pool.pool1", "[dynopool] alpha begins at 2", "would make it 10"});
  expect_refused(training("a", {pool1(R"("r": 4)")}), {"model.pool.pool1", "alpha begins at 0.25"});
  expect_refused(training("a", {pool1(R"("r": 0.1, "r_max": 0.1)")}),
                 {"pool3 (default): [max] kernel 2 does not fit", "pool1.alpha"});
}

TEST_F(TrainSteps, ADivergenceAtTheLastStepIsAFailure) {
  expect_failure(training("a", {"train.max_steps=1", "optim.lr=1e38"}), {"step 1"});
  expect_failure(training("b", {"train.max_steps=1", "optim.lr=1e38", "optim.ema=0.9"}), {"step 1"});
  expect_failure(training("c", {"train.max_steps=1", "optim.lr=1e30"}), {"step 1"});
  for (const char* run : {"a", "b", "c"})
    for (const char* name : {"last.safetensors", "best.safetensors", "result.json"})
      EXPECT_FALSE(std::filesystem::exists(file(std::string(run) + "/" + name))) << run << "/" << name;
}

TEST_F(TrainSteps, TheCheckpointBeforeADivergenceStays) {
  for (const char* sets : {"train.max_steps=6", "train.checkpoint_every=1"}) {
    std::filesystem::remove_all(file("a"));
    expect_failure(training("a", {sets, group("classifier.*", R"("lr": 1e300, "first_epoch": 1)")}),
                   {"step 6", "classifier.", "not finite"});
    EXPECT_EQ(read_safetensors(file("a/last.safetensors")).metadata.at("step"), "5") << sets;
    expect_finite("a/last.safetensors");
    EXPECT_FALSE(std::filesystem::exists(file("a/best.safetensors")));
    EXPECT_FALSE(std::filesystem::exists(file("a/result.json")));
  }
}

TEST_F(TrainSteps, ALastBatchTooSmallForBatchNormIsRefusedOrLeftOut) {
  const std::string one_pixel = pool(R"("default": {"type": "max"}, "pool4": {"type": "global_avg"})");
  expect_refused(training("a", {"data.train_images=41", one_pixel}),
                 {"features.35", "batch norm", "41 images in batches of 8", "data.drop_last"});
  expect_refused(training("a", {"train.batch=1", one_pixel}), {"features.35", "batch norm", "train.batch"});
  const std::vector<std::string> sets{"data.train_images=41", one_pixel, "data.drop_last=true"};
  EXPECT_EQ(
      [&] {
        auto call = training("a", sets);
        call.emplace_back("--json");
        return done(call).json()["steps"];
      }(),
      10)
      << "five full batches an epoch";
  done(training("b", {"data.train_images=41"}));  // a larger map: the short batch is a step
  EXPECT_EQ(read_safetensors(file("b/last.safetensors")).metadata.at("step"), "12");
}

// The schedule, the epochs of the log and a resumption count the steps that there are.
TEST_F(TrainSteps, EpochsWithoutTheLastBatchCountTheirSteps) {
  const std::vector<std::string> sets{"data.train_images=44", "data.drop_last=true",
                                      R"(optim.schedule={"type": "step", "milestones": [1], "gamma": 0.1})"};
  auto some = sets;
  some.emplace_back("train.max_steps=7");
  done(training("whole", sets));
  done(training("parts", some));
  auto rest = training("parts", sets);
  rest.emplace_back("--resume");
  done(rest);
  const auto x = read("whole/last.safetensors"), y = read("parts/last.safetensors");
  ASSERT_EQ(x.size(), y.size());
  for (const auto& [name, tensor] : x) EXPECT_EQ(tensor.values(), y.at(name).values()) << name;
  std::istringstream log(text_of(file("whole/log.jsonl")));
  int64_t steps = 0;
  for (std::string line; std::getline(log, line);) {
    const auto entry = nlohmann::json::parse(line);
    if (!entry.contains("loss")) continue;
    EXPECT_EQ(entry["epoch"], steps / 5);
    EXPECT_NEAR(entry["lr"].get<double>(), steps < 5 ? 0.05 : 0.005, 1e-9);
    ++steps;
  }
  EXPECT_EQ(steps, 10);
  expect_refused(training("none", {"data.drop_last=true", "train.batch=64"}), {"data.drop_last", "40", "64"});
}

}  // namespace
}  // namespace tidepool
