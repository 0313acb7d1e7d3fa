#include "tools/signals.h"

#include <atomic>
#include <csignal>

namespace tidepool {
namespace {

std::atomic<int> caught{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int signal) {
  caught.store(signal, std::memory_order_relaxed);
}

}  // namespace

void catch_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  // A reader of our output that ends (`| tee`) does not end the work: what cannot be written is an error at its end.
  signal(SIGPIPE, SIG_IGN);
}

bool stop_requested() {
  return caught.load(std::memory_order_relaxed) != 0;
}

int stop_status() {
  const int signal = caught.load(std::memory_order_relaxed);
  return signal == 0 ? 0 : 128 + signal;
}

}  // namespace tidepool
