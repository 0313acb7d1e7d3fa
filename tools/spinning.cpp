#include "tools/spinning.h"

#include <dlfcn.h>
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>

namespace tidepool {
namespace {

using namespace std::chrono_literals;

std::atomic<bool> brief = false;

// Signals go to the threads that were there before: what they wait in is to be interrupted.
class NoSignals {
 public:
  NoSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~NoSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  NoSignals(const NoSignals&) = delete;
  NoSignals& operator=(const NoSignals&) = delete;

 private:
  sigset_t before_;
};

// Idle OpenMP threads that outnumber the processors: those of a team whose first thread sleeps. They end with it.
class IdleTeam {
 public:
  IdleTeam()
      : thread_([this] {
          std::atomic<int> started = 0;  // an empty region would be left out by the compiler
#pragma omp parallel num_threads(omp_get_num_procs() + 1)
          ++started;
          std::unique_lock lock(mutex_);
          wake_.wait(lock, [&] { return stop_; });
        }) {
    brief = true;
  }
  ~IdleTeam() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_one();
    thread_.join();
    brief = false;
  }
  IdleTeam(const IdleTeam&) = delete;
  IdleTeam& operator=(const IdleTeam&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

// How long threads of this process waited for a processor, and how often one got it, since they started.
struct Waiting {
  double seconds = 0, turns = 0;

  static Waiting now() {
    Waiting sum;
    std::error_code code;
    for (std::filesystem::directory_iterator task("/proc/self/task", code), end; !code && task != end;
         task.increment(code)) {
      double ran = 0, waited = 0, turns = 0;  // nanoseconds; none when the thread is gone or the kernel does not count
      if (!(std::ifstream(task->path() / "schedstat") >> ran >> waited >> turns)) continue;
      sum.seconds += 1e-9 * waited;
      sum.turns += turns;
    }
    return sum;
  }
};

}  // namespace

SpinLimiter::SpinLimiter() {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  if (dlsym(RTLD_DEFAULT, "kmp_set_blocktime")) return;  // LLVM's OpenMP waits by other rules
  const NoSignals no_signals;
  try {
    watch_ = std::thread([this] { watch(); });
  } catch (const std::system_error&) {  // no more threads: threads spin on
  }
}

SpinLimiter::~SpinLimiter() {
  if (!watch_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  watch_.join();
}

void SpinLimiter::watch() {
  // Seconds that threads wait for a processor, per second: near 1 for two runs side by side on two processors, near 0
  // for one alone. A thread that is woken waits some microseconds even there; those do not count.
  constexpr double kMuch = 0.4, kLittle = 0.2, kWake = 10e-6;
  constexpr auto kPeriod = 50ms;
  constexpr double kMemory = 4;  // periods
  std::optional<IdleTeam> team;
  double rate = 0;  // mean of the last periods, older ones with less weight
  Waiting last = Waiting::now();
  auto last_time = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kPeriod, [&] { return stop_; })) {
    const Waiting now = Waiting::now();
    const auto time = std::chrono::steady_clock::now();
    const double waited = now.seconds - last.seconds - kWake * (now.turns - last.turns);
    rate += (std::max(0.0, waited) / std::chrono::duration<double>(time - last_time).count() - rate) / kMemory;
    last = now;
    last_time = time;
    try {
      if (!team && rate > kMuch) team.emplace();
    } catch (const std::system_error&) {  // no more threads: threads spin on
      return;
    }
    if (team && rate < kLittle) team.reset();
  }
}

bool spins_briefly() {
  return brief;
}

}  // namespace tidepool
