// Tables from the command line: labels, rows that are the same function, and a table that is interrupted.
#include <chrono>
#include <cstring>
#include <thread>

#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class TableCommand : public CliTest {
 protected:
  static std::vector<std::string> call(const std::string& table, std::vector<std::string> more,
                                       const std::vector<std::string>& sets) {
    std::vector<std::string> all = {"table", table, "--scale", "smoke"};
    all.insert(all.end(), more.begin(), more.end());
    for (const char* set :
         {"train.max_steps=4", "train.batch=16", "data.train_images=64", "data.test_images=60", "model.width=0.0625"})
      all.insert(all.end(), {"--set", set});
    for (const std::string& set : sets) all.insert(all.end(), {"--set", set});
    return all;
  }
};

TEST_F(TableCommand, PrintsWhatRan) {
  const nlohmann::json rows = done(call("pooling", {"--only", "vgg16-max", "--out", "t", "--json"},
                                        {"data.variant.type=tile", "loss.gmacs_lambda=0.5"}))
                                  .json()["rows"];
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0]["data"], "tile");
  EXPECT_EQ(rows[0]["lambda"], 0.5);
  for (const char* ending : {".md", ".csv", ".tex", ".html"}) {
    const std::string text = text_of(file(std::string("t/pooling") + ending));
    EXPECT_NE(text.find("tile"), std::string::npos) << ending;
    EXPECT_EQ(text.find("plain"), std::string::npos) << ending;
  }
}

TEST_F(TableCommand, TheSameFunctionHasNoInterval) {
  const nlohmann::json rows =
      done(call("pooling", {"--only", "vgg16-*ma*", "--seeds", "2", "--out", "t", "--json"}, {})).json()["rows"];
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1]["pool"], "fractional_max");  // at its defaults it pools as max does
  EXPECT_EQ(rows[1]["paired_difference"], 0.0);
  EXPECT_TRUE(rows[1]["interval"].is_null());
  EXPECT_EQ(rows[1]["interval_reason"], "same runs");
  EXPECT_NE(rows[2]["interval_reason"], "same runs") << "max_blur, though so short a training may give its accuracy";
  for (const char* ending : {".md", ".csv", ".tex", ".html"})
    EXPECT_NE(text_of(file(std::string("t/pooling") + ending)).find("same runs"), std::string::npos) << ending;
}

TEST_F(TableCommand, InterruptedItNamesWhatIsMissingAndResumes) {
  for (const std::string jobs : {"1", "2"}) {
    SCOPED_TRACE("jobs " + jobs);
    const auto table = [&](const std::string& out) {
      return call("pooling", {"--only", "vgg16-*ma*", "--jobs", jobs, "--out", out},
                  {"train.max_steps=null", "train.epochs=4", "train.checkpoint_every=2", "data.train_images=160"});
    };
    const std::string whole = "whole" + jobs, parts = "parts" + jobs;
    done(table(whole));
    const pid_t child = start(table(parts));
    const auto cut = file(parts + "/runs/vgg16-max-seed1/last.safetensors");
    while (!std::filesystem::exists(cut)) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    kill(child, SIGINT);
    const Outcome stopped = finish(child);
    EXPECT_EQ(stopped.status, 130) << stopped.err;
    EXPECT_NE(stopped.err.find("the same command goes on"), std::string::npos) << stopped.err;
    EXPECT_NE(stopped.out.find("3 of 3 runs are missing: vgg16-max, vgg16-fractional_max, vgg16-max_blur\n"),
              std::string::npos)
        << stopped.out;
    EXPECT_EQ(stopped.out, text_of(file(parts + "/pooling.md")));
    EXPECT_NE(stopped.out.find("0 of 1"), std::string::npos) << "a row that has not run is in the table";
    EXPECT_FALSE(std::filesystem::exists(file(parts + "/runs/vgg16-max-seed1/result.json")));

    const Outcome resumed = done(table(parts));
    EXPECT_EQ(resumed.out.find("missing"), std::string::npos) << resumed.out;
    for (const char* row : {"max", "fractional_max", "max_blur"}) {
      const std::string run = std::string("/runs/vgg16-") + row + "-seed1/last.safetensors";
      const auto x = read(whole + run), y = read(parts + run);
      ASSERT_EQ(x.size(), y.size());
      for (const auto& [name, tensor] : x)
        EXPECT_EQ(std::memcmp(tensor.raw(), y.at(name).raw(), tensor.storage().bytes), 0) << row << " " << name;
    }
  }
}

}  // namespace
}  // namespace tidepool
