// Runs the real binary in a folder of its own and says what came of it.
#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/safetensors.h"

namespace tidepool {

/// What a finished call left. `status` is the exit status, or 1000 + the signal that ended it.
struct Outcome {
  int status = -1;
  std::string out, err;

  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

/// A scratch folder that is the working folder and the home of every call, so that nothing of this machine is seen.
class CliTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "tidepool-cli-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    scratch_ = name;
    std::filesystem::create_directories(folder());
  }
  void TearDown() override { std::filesystem::remove_all(scratch_); }

  /// The working folder.
  std::filesystem::path folder() const { return scratch_ / "here"; }
  std::filesystem::path file(const std::string& name) const { return folder() / name; }

  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(file(name).parent_path());
    std::ofstream(file(name), std::ios::binary) << text;
  }
  void write(const std::string& name, const std::map<std::string, Tensor>& tensors) const {
    write_safetensors(file(name), {tensors, {}});
  }
  std::map<std::string, Tensor> read(const std::string& name) const { return read_safetensors(file(name)).tensors; }
  /// The weights of a checkpoint under the names of the network.
  std::map<std::string, Tensor> weights(const std::string& checkpoint) const {
    auto tensors = read(checkpoint);
    std::erase_if(tensors, [](const auto& named) { return named.first.starts_with("state/"); });
    return tensors;
  }

  struct Ended {
    int status;
    std::string out;
  };
  /// What a shell's command prints in the working folder, both streams together.
  Ended shell(const std::string& command) const {
    const std::string output = file("output").string();
    const int status =
        std::system(("cd '" + folder().string() + "' && (" + command + ") >'" + output + "' 2>&1").c_str());
    return {WEXITSTATUS(status), text_of(output)};
  }

  /// Starts the binary; `environment` adds NAME=VALUE to an environment that has PATH and HOME alone.
  pid_t start(const std::vector<std::string>& arguments, const std::vector<std::string>& environment = {}) const {
    Program program(arguments, environment, folder().string());
    const std::string out = (scratch_ / "stdout").string(), err = (scratch_ / "stderr").string();
    const std::string here = folder().string();
    const pid_t child = fork();
    if (child != 0) return child;
    const int nothing = open("/dev/null", O_RDONLY), o = open(out.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600),
              e = open(err.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    dup2(nothing, 0);
    dup2(o, 1);
    dup2(e, 2);
    if (chdir(here.c_str()) == 0) program.exec();
    _exit(127);
  }
  /// Runs the binary on a pseudo-terminal, which is its stdin, stdout and stderr. `out` holds all that it wrote there.
  Outcome run_on_terminal(int columns, const std::vector<std::string>& arguments) const {
    Program program(arguments, {}, folder().string());
    const std::string here = folder().string();
    const winsize size{.ws_row = 40, .ws_col = static_cast<unsigned short>(columns), .ws_xpixel = 0, .ws_ypixel = 0};
    int terminal = -1;
    const pid_t child = forkpty(&terminal, nullptr, nullptr, &size);
    if (child < 0) throw std::runtime_error(std::string("forkpty: ") + std::strerror(errno));
    if (child == 0) {
      if (chdir(here.c_str()) == 0) program.exec();
      _exit(127);
    }
    Outcome outcome;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(terminal, buffer, sizeof buffer)) > 0;)
      outcome.out.append(buffer, static_cast<size_t>(n));  // ends by EIO when the child has closed its side
    close(terminal);
    int status = 0;
    waitpid(child, &status, 0);
    outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    return outcome;
  }
  Outcome finish(pid_t child) const {
    int status = 0;
    waitpid(child, &status, 0);
    Outcome outcome{WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status), {}, {}};
    outcome.out = text_of(scratch_ / "stdout");
    outcome.err = text_of(scratch_ / "stderr");
    return outcome;
  }
  Outcome run(const std::vector<std::string>& arguments, const std::vector<std::string>& environment = {}) const {
    return finish(start(arguments, environment));
  }
  /// A call that must end with 0.
  Outcome done(const std::vector<std::string>& arguments, const std::vector<std::string>& environment = {}) const {
    Outcome outcome = run(arguments, environment);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome;
  }

  /// Every file below the working folder, hidden ones too.
  std::set<std::string> files() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder()))
      names.insert(std::filesystem::relative(entry.path(), folder()).string());
    return names;
  }

  /// tiny.json: a run of seconds on procedural images.
  void write_tiny_config() const {
    write("tiny.json", R"({
      "data": {"name": "procedural", "train_images": 40, "test_images": 60, "workers": 1},
      "model": {"width": 0.0625},
      "optim": {"lr": 0.05, "schedule": {"type": "constant"}},
      "train": {"epochs": 2, "batch": 8, "log_every": 1}
    })");
  }

  /// A wrong request: status 2, one line on stderr that begins with "tidepool" and holds every word, nothing on stdout,
  /// nothing written.
  void expect_refused(const std::vector<std::string>& arguments, const std::vector<std::string>& words,
                      const std::vector<std::string>& environment = {}) const {
    std::string call = "tidepool";
    for (const std::string& argument : arguments) call += " '" + argument + "'";
    SCOPED_TRACE(call);
    const std::set<std::string> before = files();
    const Outcome outcome = run(arguments, environment);
    EXPECT_EQ(outcome.status, 2) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_TRUE(outcome.err.ends_with('\n'));
    EXPECT_TRUE(outcome.err.starts_with("tidepool")) << outcome.err;
    for (const std::string& word : words)
      EXPECT_NE(outcome.err.find(word), std::string::npos) << word << " in: " << outcome.err;
    EXPECT_EQ(files(), before);
  }

  static std::string text_of(const std::filesystem::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }

 private:
  // Arguments and environment of the binary, made before a fork.
  class Program {
   public:
    Program(const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
            const std::string& home)
        : words_{TIDEPOOL_BINARY}, variables_{"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + home} {
      words_.insert(words_.end(), arguments.begin(), arguments.end());
      variables_.insert(variables_.end(), environment.begin(), environment.end());
      for (const char* kept :
           {"ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "OMP_TOOL_LIBRARIES", "LD_LIBRARY_PATH"})
        if (const char* value = std::getenv(kept)) variables_.push_back(std::string(kept) + "=" + value);
      for (std::string& word : words_) argv_.push_back(word.data());
      for (std::string& variable : variables_) envp_.push_back(variable.data());
      argv_.push_back(nullptr);
      envp_.push_back(nullptr);
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    void exec() { execve(argv_[0], argv_.data(), envp_.data()); }

   private:
    std::vector<std::string> words_, variables_;
    std::vector<char*> argv_, envp_;
  };

  std::filesystem::path scratch_;
};

}  // namespace tidepool
