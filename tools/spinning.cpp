#include "tools/spinning.h"

#include <omp.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
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

struct Usage {
  double seconds;  // of the processors
  int64_t preemptions;

  static Usage now() {
    rusage use{};
    getrusage(RUSAGE_SELF, &use);
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    return {seconds(use.ru_utime) + seconds(use.ru_stime), use.ru_nivcsw};
  }
};

}  // namespace

SpinLimiter::SpinLimiter() {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
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
  // Preemptions per second of processor time. Where processors are shared, threads change every few milliseconds; where
  // they are not, this thread alone preempts 20 times a second, and the system's own work some times more.
  constexpr double kMany = 60, kFew = 40;
  constexpr auto kPeriod = 50ms;
  constexpr double kMemory = 4;  // periods
  std::optional<IdleTeam> team;
  double seconds = 0, preemptions = 0;  // of the last periods, older ones with less weight
  Usage last = Usage::now();
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kPeriod, [&] { return stop_; })) {
    const Usage now = Usage::now();
    constexpr double kKept = 1 - 1 / kMemory;
    preemptions = kKept * preemptions + static_cast<double>(now.preemptions - last.preemptions);
    seconds = kKept * seconds + (now.seconds - last.seconds);
    last = now;
    const double wall = kMemory * std::chrono::duration<double>(kPeriod).count();
    const double rate = preemptions / std::max(1e-3, std::min(seconds, wall));
    try {
      if (!team && rate > kMany && preemptions > 2) team.emplace();
    } catch (const std::system_error&) {  // no more threads: threads spin on
      return;
    }
    if (team && rate < kFew) team.reset();
  }
}

bool spins_briefly() {
  return brief;
}

}  // namespace tidepool
