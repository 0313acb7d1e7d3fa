// Runs the threads of a block on the host: one after the other on one fiber as long as none waits; a thread that waits
// keeps its fiber, and the others go on on another. Which thread goes first after a wait is drawn from the seed, so
// that a missing barrier shows as a wrong number.
#pragma once
#include <vector_types.h>

#include <cstdint>
#include <functional>

namespace simulated {

/// Small random numbers: xorshift* (Vigna 2016).
class Order {
 public:
  explicit Order(uint32_t seed) : state_((seed + uint64_t{1}) * 0x9e3779b97f4a7c15) {}
  /// Of [0, n).
  uint32_t below(size_t n) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<uint32_t>((state_ * 0x2545f4914f6cdd1du >> 32) * n >> 32);
  }

 private:
  uint64_t state_;
};

/// Throws std::runtime_error when threads wait that nobody can release, or at different barriers.
void run_block(const std::function<void()>& body, dim3 block, Order& order);

/// The places where a barrier has stood, and the one that is left out (-1: none).
int64_t barrier_places();
void leave_out_barrier(int64_t place);
void forget_barriers();

}  // namespace simulated
