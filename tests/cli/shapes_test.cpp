// `tidepool shapes`, budgets, learners and two stages, by the real binary.
#include <cmath>

#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class Shapes : public CliTest {
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
  std::vector<nlohmann::json> steps_of(const std::string& run) const {
    std::vector<nlohmann::json> steps;
    std::istringstream lines(text_of(file(run + "/log.jsonl")));
    for (std::string line; std::getline(lines, line);)
      if (auto json = nlohmann::json::parse(line); json.contains("loss")) steps.push_back(std::move(json));
    return steps;
  }
};

const std::string kDynopool = "model.pool.default.type=dynopool";

TEST_F(Shapes, PrintsEveryParameterBesideTheTruth) {
  done(training("a", {kDynopool}));
  const std::string checkpoint = text_of(file("a/last.safetensors"));
  const std::vector<std::string> call{"shapes", "a", "--batches", "3", "--steps", "2", "--json"};
  const Outcome first = done(call);
  EXPECT_EQ(first.out, done(call).out) << "deterministic";
  EXPECT_EQ(text_of(file("a/last.safetensors")), checkpoint);
  const nlohmann::json json = first.json();
  ASSERT_EQ(json["sizes"].size(), 8U);
  EXPECT_EQ(json["batches"], 3);
  EXPECT_EQ(json["lr"], 0.05);
  int measured = 0;
  for (const auto& size : json["sizes"]) {
    EXPECT_TRUE(size["gradient"]["standard_error"].get<double>() >= 0);
    for (const char* side : {"more", "fewer"}) {
      if (size[side].is_null()) continue;
      ++measured;
      EXPECT_EQ(std::abs(size[side]["length"].get<int>() - size["length"].get<int>()), 1);
      EXPECT_TRUE(size[side]["change_after_steps"].is_object());
    }
  }
  EXPECT_GE(measured, 14);
  EXPECT_EQ(json["sizes"][0]["parameter"], "pool1.alpha");
  EXPECT_EQ(json["sizes"][0]["axis"], "height");

  // The best weights stand where their epoch ended, in the middle of the schedule.
  done(training("v",
                {kDynopool, "data.val_images=8", "optim.schedule.type=constant", "optim.schedule.warmup_epochs=1"}));
  EXPECT_EQ(done({"shapes", "v/best.safetensors", "--batches", "2", "--steps", "1", "--json"}).json()["lr"], 0.05);

  const std::string text = done({"shapes", "a/last.safetensors", "--batches", "2"}).out;
  for (const char* part : {"pool4.alpha", "height", "width", "measured", "on 2 batches"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  std::istringstream csv(done({"shapes", "a", "--batches", "2", "--csv", "--hold", "sizes"}).out);
  std::string header, line;
  std::getline(csv, header);
  int rows = 0;
  for (; std::getline(csv, line); ++rows)
    EXPECT_EQ(std::count(line.begin(), line.end(), ','), std::count(header.begin(), header.end(), ',')) << line;
  EXPECT_EQ(rows, 8);
}

TEST_F(Shapes, RefusesWhatItCannotMeasure) {
  done(training("a", {kDynopool, "train.epochs=1"}));
  done(training("plain", {"train.epochs=1"}));
  expect_refused({"shapes", "plain"}, {"plain/last.safetensors", "vgg16 has no size that is learned"});
  expect_refused({"shapes", "nothing"}, {"nothing"});
  expect_refused({"shapes", "a", "--batches", "1"}, {"--batches", "1"});
  expect_refused({"shapes", "a", "--batches", "4", "--steps", "2"},
                 {"--batches and --steps", "5 batches of 8", "got 6"});
  expect_refused({"shapes", "a", "--lr", "0.1"}, {"--lr", "--steps"});
  expect_refused({"shapes", "a", "--csv", "--json"}, {"--csv"});
  expect_refused({"shapes", "a", "--hold", "size"}, {"--hold", "size"});
  expect_refused({"shapes", "a", "--batches", "2", "--steps", "1", "--set", "optim.schedule.type=cosine"},
                 {"--steps", "rate", "--lr RATE"});
}

TEST_F(Shapes, LearnersAndBudgetsThatDoNotFitAreRefused) {
  expect_refused(training("a", {kDynopool, "loss.gmacs_target=initial", "loss.gmacs_lambda=0.1"}),
                 {"loss.gmacs_target", "gmacs_lambda 0, got 0.1"});
  expect_refused(training("a", {kDynopool, "loss.gmacs_target=inital"}), {"did you mean 'initial'"});
  expect_refused(training("a", {kDynopool, "optim.shape.learner.type=spsa"}),
                 {"optim.shape.learner.type", "differences, gradient, stochastic"});
  expect_refused(training("a", {"model.pool.default.type=shape_adaptor", "optim.shape.learner.type=differences"}),
                 {"optim.shape.learner", "pool1.alpha", "straight_through"});
  expect_refused(training("a", {"model.pool.default.type=shape_adaptor", "optim.shape.log=true"}),
                 {"optim.shape.log", "pool1.alpha", "above 0"});
  expect_refused(training("a", {kDynopool, "optim.shape.retrain_after=2"}),
                 {"optim.shape.retrain_after", "train.epochs, 2"});
  expect_refused(training("a", {"model.pool.default.type=max", "optim.shape.retrain_after=1"}),
                 {"optim.shape.retrain_after", "no size that is learned"});
}

TEST_F(Shapes, SettingsOfSizesThatDoNothingAreTold) {
  const auto told = [&](const std::string& run, const std::vector<std::string>& sets) {
    return done(training(run, sets)).err;
  };
  const std::string never =
      told("a", {kDynopool, "train.max_steps=1", "optim.shape.lr=0.1", "optim.shape.first_epoch=2"});
  EXPECT_NE(never.find("sizes that never move"), std::string::npos) << never;
  const std::string fixed =
      told("b", {kDynopool, "train.max_steps=1", "optim.shape.lr=0", "optim.shape.first_epoch=2"});
  EXPECT_EQ(fixed.find("sizes that never move"), std::string::npos) << fixed;
  const std::string rise = told("d", {kDynopool, "train.max_steps=1", "optim.shape.lr=0.1", "optim.shape.first_epoch=0",
                                      "optim.shape.last_epoch=1", "optim.shape.warmup_epochs=2"});
  EXPECT_NE(rise.find("a warm-up of 2 epochs is longer than the 1 in which it moves"), std::string::npos) << rise;
  const std::string term = told("c", {"model.pool.default.type=max", "train.max_steps=1", "loss.gmacs_lambda=0.1"});
  EXPECT_NE(term.find("loss.gmacs_lambda: the network has no size that is learned"), std::string::npos) << term;
}

// Killed in the second stage and in the first, each ends with the very same weights.
TEST_F(Shapes, ARunOfTwoStagesAtABudgetResumes) {
  const std::vector<std::string> sets{kDynopool,
                                      "train.epochs=3",
                                      "train.checkpoint_every=1",
                                      "optim.shape.learner.type=stochastic",
                                      "optim.shape.lr=0.02",
                                      "optim.shape.log=true",
                                      "optim.shape.normalize=0.9",
                                      "optim.shape.retrain_after=2",
                                      "loss.gmacs_target=initial"};
  const Outcome whole = done(training("whole", sets));
  EXPECT_NE(whole.err.find("weights are re-initialised"), std::string::npos) << whole.err;
  const auto steps = steps_of("whole");
  ASSERT_EQ(steps.size(), 15U);
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].contains("shape_forwards"), i < 10) << i;
    EXPECT_TRUE(steps[i].contains("gmacs_multiplier"));
  }
  EXPECT_NE(steps[9]["shapes"], steps[0]["shapes"]) << "the sizes were to move";
  EXPECT_EQ(steps[14]["shapes"], steps[9]["shapes"]);
  EXPECT_GT(steps[10]["task_loss"].get<double>(), 0);
  const auto last = read("whole/last.safetensors");
  EXPECT_TRUE(last.contains("state/gmacs_multiplier") && last.contains("state/gmacs_unit"));
  for (const char* end : {"7", "10", "12"}) {
    const std::string out = std::string("parts") + end;
    std::vector<std::string> part = training(out, sets);
    part.insert(part.end(), {"--set", std::string("train.max_steps=") + end});
    done(part);
    std::vector<std::string> rest = training(out, sets);
    rest.emplace_back("--resume");
    done(rest);
    const auto resumed = read(out + "/last.safetensors");
    ASSERT_EQ(resumed.size(), last.size());
    for (const auto& [name, tensor] : last) EXPECT_EQ(resumed.at(name).values(), tensor.values()) << name;
  }
}

}  // namespace
}  // namespace tidepool
