// Runs beside other processes: threads that wait must not spin on the processor that another one needs.
#include <sys/resource.h>

#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class Beside : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    write("run.json", R"({
      "data": {"name": "procedural", "train_images": 160, "test_images": 20, "workers": 1},
      "model": {"name": "vgg16", "width": 0.125, "pool": {"default": {"type": "max"}}},
      "train": {"epochs": 15, "batch": 16, "log_every": 100, "checkpoint_every": 1000}
    })");
  }

  // Seconds of the processors that runs side by side take together.
  double seconds_of_runs(const std::string& name, const std::vector<std::string>& environment) const {
    constexpr int kRuns = 3;
    std::vector<pid_t> runs;
    for (int i = 0; i < kRuns; ++i)
      runs.push_back(start({"train", "run.json", "--out", name + std::to_string(i)}, environment));
    double seconds = 0;
    for (const pid_t run : runs) {
      int status = 0;
      rusage use{};
      wait4(run, &status, 0, &use);
      EXPECT_EQ(status, 0);
      for (const timeval& t : {use.ru_utime, use.ru_stime})
        seconds += static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    }
    return seconds;
  }
};

// Spinning shows in the processors' time, which other processes change little. Threads that spin for milliseconds take
// ten times as much here as threads that do not spin at all.
TEST_F(Beside, RunsDoNotSpinAgainstEachOther) {
  const double without_spinning = seconds_of_runs("passive", {"OMP_WAIT_POLICY=passive"});
  const double seconds = seconds_of_runs("run", {});
  EXPECT_LT(seconds, 2 * without_spinning);
}

TEST_F(Beside, BenchStepPrintsBoth) {
  const std::vector<std::string> call = {"bench", "step", "run.json", "--beside", "--steps", "1", "--json"};
  const nlohmann::json json = done(call).json();
  for (const char* work : {"training", "evaluation"})
    for (const char* key : {"alone_images_per_second", "beside_images_per_second", "beside_of_half"})
      EXPECT_GT(json[work][key].get<double>(), 0) << work << " " << key;
  EXPECT_GT(json["training"]["copy_images_per_second"].get<double>(), 0);
  // What the user says of waiting holds.
  for (const char* variable : {"OMP_WAIT_POLICY=passive", "GOMP_SPINCOUNT=1000"}) {
    const nlohmann::json set = done(call, {variable}).json();
    EXPECT_EQ(set["training"]["beside_brief_spinning"], 0) << variable;
  }
  expect_refused({"bench", "conv", "run.json", "--beside"}, {"--beside means nothing to `bench conv`"});
  expect_refused({"bench", "ops", "--beside"}, {"--beside means nothing to `bench ops`"});
}

}  // namespace
}  // namespace tidepool
