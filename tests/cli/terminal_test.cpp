// What a terminal of 60, 80 or 120 columns shows of training and of a table.
#include <filesystem>

#include "tests/cli/cli.h"

namespace tidepool {
namespace {

class Terminal : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    int master = -1, slave = -1;
    if (openpty(&master, &slave, nullptr, nullptr, nullptr) < 0)
      GTEST_SKIP() << "this machine gives no pseudo-terminal: " << std::strerror(errno);
    close(master), close(slave);
    write("run.json", R"({
      "name": "cifar100-stretch_v-vgg16-dynopool",
      "data": {"name": "procedural", "train_images": 120, "test_images": 40, "workers": 1},
      "model": {"name": "vgg16", "width": 0.0625},
      "optim": {"lr": 0.05},
      "train": {"epochs": 3, "batch": 8, "log_every": 1}
    })");
  }

  // What stood on a line of the terminal at some time, each state of a bar on its own.
  static std::vector<std::string> states(const std::string& text) {
    std::vector<std::string> all(1);
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n' || text[i] == '\r') {
        all.emplace_back();
      } else if (text.substr(i, 3) == "\x1b[K") {
        i += 2;
      } else {
        all.back() += text[i];
      }
    }
    std::erase(all, "");
    return all;
  }
  static size_t columns(const std::string& line) {
    return static_cast<size_t>(
        std::count_if(line.begin(), line.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
  }
  static bool holds(const std::string& line, const std::vector<std::string>& words) {
    return std::all_of(words.begin(), words.end(),
                       [&](const std::string& word) { return line.find(word) != std::string::npos; });
  }
  // Some line holds all the words.
  static bool any_holds(const std::vector<std::string>& lines, const std::vector<std::string>& words) {
    return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) { return holds(line, words); });
  }
};

TEST_F(Terminal, TrainShowsBarEpochAndLoss) {
  for (const int width : {60, 80, 120}) {
    SCOPED_TRACE(width);
    std::filesystem::remove_all(file("a"));
    const Outcome outcome = run_on_terminal(width, {"train", "run.json", "--out", "a"});
    EXPECT_EQ(outcome.status, 0) << outcome.out;
    const auto lines = states(outcome.out);
    for (const std::string& line : lines) EXPECT_LE(columns(line), static_cast<size_t>(width)) << line;
    EXPECT_TRUE(any_holds(lines, {"cifar", "[#", "%", "epoch 2/3", "loss "})) << outcome.out;
    for (const char* epoch : {"epoch 1/3  loss ", "epoch 2/3  loss ", "epoch 3/3  loss "})
      EXPECT_TRUE(any_holds(lines, {epoch, "test loss ", "top-1 "})) << epoch << "\n" << outcome.out;
    EXPECT_EQ(any_holds(lines, {"epoch 3/3  loss ", "images/s"}), width >= 80) << outcome.out;
  }
}

TEST_F(Terminal, TrainSaysEveryEpochInAPipe) {
  const Outcome outcome = done({"train", "run.json", "--out", "a", "--json", "--set", "train.max_steps=40"});
  for (const char* epoch : {"epoch 1/3  loss ", "epoch 2/3  loss ", "epoch 3/3  loss "})
    EXPECT_TRUE(any_holds(states(outcome.err), {epoch, "top-1 ", "images/s"})) << epoch << "\n" << outcome.err;
  EXPECT_EQ(outcome.json()["steps"], 40);
}

TEST_F(Terminal, ATableIsFitted) {
  write("mine.json", R"({
    "title": "Mine", "base": "cifar100_vgg16.json",
    "grid": [{"column": "data", "rows": {"plain": {}}},
             {"column": "model", "rows": {"vgg16": {}}},
             {"column": "pool", "rows": {
               "max": {},
               "fractional_max": {"model.pool": {"default": {"type": "fractional_max", "kernel": 2, "ratio": 0.5}}},
               "max_blur": {"model.pool": {"default": {"type": "max_blur"}}}}}],
    "baseline": {"pool": "max"},
    "columns": ["lambda", "top1_last", "seeds", "top1_best", "difference", "gmacs", "parameters", "step_ms",
                "peak_bytes", "psnr", "ssim", "shapes"]
  })");
  std::vector<std::string> call = {"table", "mine.json", "--scale", "smoke", "--out", "t"};
  for (const char* set : {"train.max_steps=6", "data.train_images=64", "data.test_images=16", "model.width=0.0625",
                          "train.batch=16", "train.epochs=2"})
    call.insert(call.end(), {"--set", set});
  for (const int width : {60, 80, 120, 400}) {
    SCOPED_TRACE(width);
    std::filesystem::remove_all(file("t"));
    const Outcome outcome = run_on_terminal(width, call);
    EXPECT_EQ(outcome.status, 0) << outcome.out;
    const auto lines = states(outcome.out);
    EXPECT_TRUE(any_holds(lines, {"/3 plain", "[#", "%", "epoch ", "/2, loss "})) << outcome.out;
    for (const std::string& line : lines)
      EXPECT_TRUE(columns(line) <= static_cast<size_t>(width) || holds(line, {" info: "})) << line;
    EXPECT_TRUE(any_holds(lines, {"pool", "top-1 last, %", "difference [95%]"})) << outcome.out;
    EXPECT_TRUE(any_holds(lines, {"fractional_max", "same runs"})) << "a row stays one line\n" << outcome.out;
    EXPECT_EQ(any_holds(lines, {"in every row: data plain, model vgg16"}), width < 400) << outcome.out;
    EXPECT_EQ(any_holds(lines, {"data", "model", "pool", "parameters, M", "final shapes"}), width == 400);
    EXPECT_EQ(any_holds(lines, {"left out at 60 columns: "}), width == 60) << outcome.out;
    const std::string whole = text_of(file("t/mine.md"));
    for (const char* column : {"data", "lambda", "parameters, M", "peak, MiB", "SSIM", "final shapes"})
      EXPECT_NE(whole.find(column), std::string::npos) << column;
  }
  // In a pipe it is the file.
  EXPECT_EQ(done(call).out, text_of(file("t/mine.md")));
}

TEST_F(Terminal, ATableOfSeveralJobsShowsTheLoss) {
  std::vector<std::string> call = {"table", "pooling", "--scale", "smoke",  "--only",
                                   "*max",  "--out",   "t",       "--jobs", "2"};
  for (const char* set : {"train.max_steps=150", "train.epochs=5", "data.train_images=320", "data.test_images=16",
                          "model.width=0.0625", "train.batch=8"})
    call.insert(call.end(), {"--set", set});
  const Outcome outcome = run_on_terminal(80, call);
  EXPECT_EQ(outcome.status, 0) << outcome.out;
  EXPECT_TRUE(any_holds(states(outcome.out), {"max", "[#", "%", "epoch ", "/5, loss "})) << outcome.out;
}

TEST_F(Terminal, OtherTablesAreFittedToo) {
  for (const std::vector<std::string>& call :
       {std::vector<std::string>{"info", "run.json"}, {"data", "info"}, {"ops", "max"}}) {
    const Outcome outcome = run_on_terminal(60, call);
    EXPECT_EQ(outcome.status, 0);
    if (call[0] == "ops") continue;  // text around its table
    for (const std::string& line : states(outcome.out))
      EXPECT_TRUE(columns(line) <= 60 || holds(line, {" GMACs per image"}) || holds(line, {"images are normalised"}))
          << line;
  }
  EXPECT_TRUE(any_holds(states(run_on_terminal(60, {"info", "run.json"}).out), {"left out at 60 columns: kind"}));
}

}  // namespace
}  // namespace tidepool
