#include "tools/bench_beside.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/backend/copy.h"
#include "core/error.h"
#include "tools/run_config.h"
#include "tools/spinning.h"
#include "tools/timing.h"
#include "train/step.h"

namespace tidepool {
namespace {

// Training steps and evaluation on one made-up batch.
class Work {
 public:
  explicit Work(const Config& config)
      : network_(make_run_network(config)),
        task_(make_task(config, *network_)),
        optimizer_(config.optim, network_->parameters(), 1 << 20, 1 << 20),
        stepper_(*network_, *task_, optimizer_, config.loss, config.train.seed),
        batch_(made_up_batch(config, *network_, *task_, config.train.batch)) {}

  void train() { waited_step(stepper_, batch_, step_++); }
  void evaluate() { on_host(network_->forward(batch_.images, {.training = false})); }

 private:
  std::shared_ptr<Network> network_;
  std::unique_ptr<Task> task_;
  Optimizer optimizer_;
  Stepper stepper_;
  TensorBatch batch_;
  int64_t step_ = 0;
};

// A second process of this program that trains while it is let run. It ends when this object does, or we are killed.
class Copy {
 public:
  explicit Copy(std::vector<std::string> command) {
    std::vector<char*> arguments;
    for (std::string& word : command) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw Failure("cannot open a pipe: {}", std::strerror(errno));
    const pid_t parent = ::getpid();
    process_ = ::fork();
    const int code = errno;
    if (process_ == 0) {  // only what is safe after a fork of a process with threads
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(127);
      ::dup2(ends[1], 1);
      ::execv("/proc/self/exe", arguments.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    steps_ = ends[0];
    if (process_ < 0) {
      ::close(steps_);
      throw Failure("cannot start a process: {}", std::strerror(code));
    }
  }
  ~Copy() {
    ::kill(process_, SIGKILL);
    while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
    ::close(steps_);
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  // Waits for `count` steps.
  void await(int64_t count) const {
    for (int64_t done = 0; done < count; done += read_steps()) {
    }
  }
  // Steps since the last call.
  int64_t count() const {
    int64_t done = 0;
    for (pollfd ready{steps_, POLLIN, 0}; ::poll(&ready, 1, 0) > 0;) done += read_steps();
    return done;
  }
  void halt() const {
    ::kill(process_, SIGSTOP);
    int status = 0;
    ::waitpid(process_, &status, WUNTRACED);
  }
  void go_on() const { ::kill(process_, SIGCONT); }

 private:
  int64_t read_steps() const {
    char bytes[256];
    const ssize_t n = ::read(steps_, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) return 0;
    if (n <= 0) throw Failure("the second copy ended before it was measured");
    return n;
  }

  pid_t process_ = -1;
  int steps_ = -1;
};

// Calls a second of our work and, beside it, of the copy's steps.
struct Rates {
  double alone = 0, beside = 0, copy = 0;
  double brief_alone = 0, brief_beside = 0;  // shares of the calls in which threads spun briefly

  Json json(double images, bool copy_too) const {
    Json json = {{"alone_images_per_second", images * alone},
                 {"beside_images_per_second", images * beside},
                 {"beside_of_half", beside / (alone / 2)},
                 {"alone_brief_spinning", brief_alone},
                 {"beside_brief_spinning", brief_beside}};
    if (copy_too) {
      json["copy_images_per_second"] = images * copy;
      json["copy_of_half"] = copy / (alone / 2);
    }
    return json;
  }
};

// Turn about, so that a machine that slows down for a while slows both. Before each turn one is not timed, in which the
// threads find out how long to spin.
Rates measure(const std::function<void()>& work, const Copy& copy, int64_t turns) {
  constexpr double kTurn = 0.5;  // seconds, at least
  struct Sum {
    double seconds = 0;
    int64_t calls = 0, brief = 0;

    double rate() const { return static_cast<double>(calls) / seconds; }
    double brief_share() const { return static_cast<double>(brief) / static_cast<double>(calls); }
  };
  const auto turn = [&](Sum& sum) {
    const auto begin = Clock::now();
    double seconds = 0;
    for (int64_t i = 0; i < 2 || seconds < kTurn; ++i) {
      work();
      ++sum.calls;
      sum.brief += spins_briefly() ? 1 : 0;
      seconds = seconds_between(begin, Clock::now());
    }
    sum.seconds += seconds;
  };
  Sum alone, beside, not_counted;
  int64_t copied = 0;
  for (int64_t i = 0; i < turns; ++i) {
    turn(not_counted);
    turn(alone);
    copy.go_on();
    turn(not_counted);
    copy.count();
    turn(beside);
    copy.halt();
    copied += copy.count();
  }
  return {.alone = alone.rate(),
          .beside = beside.rate(),
          .copy = static_cast<double>(copied) / beside.seconds,
          .brief_alone = alone.brief_share(),
          .brief_beside = beside.brief_share()};
}

}  // namespace

int bench_beside(const Call& call) {
  const Config config = config_of(call, 1, "cifar100_vgg16.json");
  const int64_t turns = call.integer("steps", 1, 1000);
  std::vector<std::string> command{"tidepool", "bench", "step"};
  if (!call.argument(1).empty()) command.push_back(call.argument(1));
  for (const std::string& set : call.texts("set")) command.insert(command.end(), {"--set", set});
  command.emplace_back("--copy");
  Work work(config);
  const Copy copy(command);
  constexpr int64_t kWarmup = 4;  // until the allocator has what a step needs
  copy.await(kWarmup);
  copy.halt();
  for (int64_t i = 0; i < kWarmup; ++i) work.train();
  const Rates training = measure([&] { work.train(); }, copy, turns);
  const Rates evaluation = measure([&] { work.evaluate(); }, copy, turns);

  const auto images = static_cast<double>(config.train.batch);
  if (call.json()) {
    print_json({{"name", config.name},
                {"batch", config.train.batch},
                {"threads", cpu_threads()},
                {"training", training.json(images, true)},
                {"evaluation", evaluation.json(images, false)}});
    return 0;
  }
  print(fmt::format(
      "training alone {:.1f} images/s; beside a second copy {:.1f} and the copy {:.1f}: {:.2f} and {:.2f} of half\n"
      "evaluation alone {:.1f} images/s; beside a copy that trains {:.1f}: {:.2f} of half\n",
      images * training.alone, images * training.beside, images * training.copy, training.beside / (training.alone / 2),
      training.copy / (training.alone / 2), images * evaluation.alone, images * evaluation.beside,
      evaluation.beside / (evaluation.alone / 2)));
  return 0;
}

int bench_copy(const Call& call) {
  Work work(config_of(call, 1, "cifar100_vgg16.json"));
  for (;;) {
    work.train();
    if (::write(STDOUT_FILENO, "", 1) != 1) return 0;
  }
}

}  // namespace tidepool
