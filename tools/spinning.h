// How long threads of the CPU's loops spin while they wait for each other.
#pragma once
#include <condition_variable>
#include <mutex>
#include <thread>

namespace tidepool {

/// While it lives, threads spin briefly whenever other threads need the processors, be they of this process or of
/// others. GNU's OpenMP spins for some milliseconds before it sleeps: right while the thread waited for runs, tenfold
/// slower when that one waits for the processor. It has no call to change that, but spins for a microsecond alone while
/// its threads outnumber the processors; so this keeps a few idle threads of its own there while threads are often
/// preempted. Does nothing when OMP_WAIT_POLICY or GOMP_SPINCOUNT is set.
class SpinLimiter {
 public:
  SpinLimiter();
  ~SpinLimiter();
  SpinLimiter(const SpinLimiter&) = delete;
  SpinLimiter& operator=(const SpinLimiter&) = delete;

 private:
  void watch();

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread watch_;
};

/// Whether threads spin briefly now.
bool spins_briefly();

}  // namespace tidepool
