#include "tests/simulated_cuda/block.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/simulated_cuda/device_side.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// A switch of stacks in 14 instructions (System V ABI, x86-64); ucontext's makes two system calls.
asm(R"(
.globl tidepool_simulated_switch
.type tidepool_simulated_switch, @function
tidepool_simulated_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
extern "C" void tidepool_simulated_switch(void** save, void* load);

namespace simulated {

Indices indices;

namespace {

constexpr size_t kStack = size_t{256} << 10;

// The address sanitizer is told which stack it is on.
struct Stack {
  const void* begin = nullptr;
  size_t bytes = 0;
};
#if defined(__SANITIZE_ADDRESS__)
void leave(void** frames, const Stack& to) {
  __sanitizer_start_switch_fiber(frames, to.begin, to.bytes);
}
void arrive(void* frames, Stack* from) {
  __sanitizer_finish_switch_fiber(frames, from ? &from->begin : nullptr, from ? &from->bytes : nullptr);
}
void forget_frames(const Stack& stack) {
  __asan_unpoison_memory_region(stack.begin, stack.bytes);
}
#else
void leave(void** /*frames*/, const Stack& /*to*/) {}
void arrive(void* /*frames*/, Stack* /*from*/) {}
void forget_frames(const Stack& /*stack*/) {}
#endif

enum class State : uint8_t { ready, at_barrier, at_shuffle, done };
struct Thread {
  State state = State::ready;
  void* stack = nullptr;  // where it goes on, once it has begun
  size_t fiber = 0;
  std::pair<const char*, int> place{};
  int from = 0;
  unsigned mask = 0;
  uint64_t value = 0;
};

class Runner {
 public:
  static Runner& instance() {
    static Runner runner;
    return runner;
  }

  void run(const std::function<void()>& body, dim3 block, Order& order) {
    body_ = &body;
    threads_.assign(size_t{block.x} * block.y * block.z, {});
    shared_.clear();
    failure_ = nullptr;
    indices.threads = block;
    const size_t n = threads_.size(), first = order.below(n);
    const bool up = order.below(2) == 0;  // a kernel without barriers wants no better mixture, and it is cheap
    runnable_.resize(n);
    for (size_t i = 0, next = first; i < n; ++i, next = next + 1 == n ? 0 : next + 1)
      runnable_[up ? i : n - 1 - i] = next;
    while (true) {
      while (!runnable_.empty()) resume(runnable_.back());
      if (failure_) std::rethrow_exception(failure_);
      if (!release()) return;
      for (size_t i = runnable_.size(); i > 1; --i) std::swap(runnable_[i - 1], runnable_[order.below(i)]);
    }
  }

  void wait_for_block(const char* file, int line) {
    const std::pair<const char*, int> place{file, line};
    const auto [known, fresh] = places_.try_emplace(place, static_cast<int64_t>(places_.size()));
    if (known->second == left_out_) return;
    threads_[current_].place = place;
    wait(State::at_barrier);
  }
  uint64_t exchange(unsigned mask, uint64_t value, int from) {
    Thread& t = threads_[current_];
    t.mask = mask;
    t.value = value;
    t.from = from;
    wait(State::at_shuffle);
    return threads_[current_].value;
  }
  void* shared(size_t bytes, const void* name) {
    std::vector<std::max_align_t>& memory = shared_[name];
    if (memory.empty()) {
      memory.resize((bytes + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
      std::memset(memory.data(), 0xff, memory.size() * sizeof(std::max_align_t));
    }
    return memory.data();
  }

  int64_t places() const { return static_cast<int64_t>(places_.size()); }
  void leave_out(int64_t place) { left_out_ = place; }
  void forget() { places_.clear(); }

 private:
  void wait(State state) {
    Thread& t = threads_[current_];
    t.state = state;
    const size_t self = current_;
    const Indices here = indices;
    void* frames = nullptr;
    leave(&frames, home_stack_);
    tidepool_simulated_switch(&t.stack, home_);
    arrive(frames, &home_stack_);
    indices = here;
    current_ = self;
  }
  // Goes on with a thread until it waits; one that has not begun takes those behind it along on its fiber.
  void resume(size_t i) {
    runnable_.pop_back();
    current_ = i;
    if (!threads_[i].stack) {
      threads_[i].fiber = take_fiber();
      void** top = reinterpret_cast<void**>(fibers_[threads_[i].fiber].get() + kStack);
      *--top = nullptr;
      *--top = reinterpret_cast<void*>(&Runner::begin);
      for (int r = 0; r < 6; ++r) *--top = nullptr;
      threads_[i].stack = top;
      forget_frames(stack_of(threads_[i].fiber));
    }
    void* frames = nullptr;
    leave(&frames, stack_of(threads_[i].fiber));
    tidepool_simulated_switch(&home_, threads_[i].stack);
    arrive(frames, nullptr);
  }
  Stack stack_of(size_t fiber) const { return {fibers_[fiber].get(), kStack}; }
  static void begin() {
    arrive(nullptr, &instance().home_stack_);
    instance().work();
  }
  void work() {
    const size_t fiber = threads_[current_].fiber;
    while (true) {
      const auto i = static_cast<unsigned>(current_);
      const dim3 n = indices.threads;
      indices.thread = i < n.x ? uint3{i, 0, 0} : uint3{i % n.x, i / n.x % n.y, i / n.x / n.y};
      threads_[current_].fiber = fiber;
      try {
        (*body_)();
      } catch (...) {
        failure_ = std::current_exception();
      }
      threads_[current_].state = State::done;
      if (runnable_.empty() || threads_[runnable_.back()].stack) break;
      current_ = runnable_.back();
      runnable_.pop_back();
    }
    idle_.push_back(fiber);
    leave(nullptr, home_stack_);  // for ever
    void* never = nullptr;
    tidepool_simulated_switch(&never, home_);
  }
  size_t take_fiber() {
    if (idle_.empty()) {
      fibers_.emplace_back(new (std::align_val_t{64}) char[kStack]);
      return fibers_.size() - 1;
    }
    const size_t fiber = idle_.back();
    idle_.pop_back();
    return fiber;
  }

  // Lets those go on whose wait is over. False when all are done.
  bool release() {
    size_t done = 0, barrier = 0;
    std::pair<const char*, int> place{};
    for (const Thread& t : threads_) {
      done += t.state == State::done;
      barrier += t.state == State::at_barrier;
      if (t.state == State::at_barrier) place = t.place;
    }
    if (done == threads_.size()) return false;
    for (size_t first = 0; first < threads_.size(); first += 32) release_warp(first);
    if (!runnable_.empty()) return true;
    if (barrier != threads_.size())
      throw std::runtime_error("a block cannot go on: " + std::to_string(barrier) + " threads wait at a barrier that " +
                               std::to_string(done) + " have left behind, or lanes of a shuffle's mask do not come");
    for (size_t i = 0; i < threads_.size(); ++i) {
      if (threads_[i].place != place)
        throw std::runtime_error("threads of a block wait at different barriers: lines " +
                                 std::to_string(place.second) + " and " + std::to_string(threads_[i].place.second));
      threads_[i].state = State::ready;
      runnable_.push_back(i);
    }
    return true;
  }
  void release_warp(size_t first) {
    const size_t lanes = std::min<size_t>(32, threads_.size() - first);
    unsigned here = 0;
    for (size_t l = 0; l < lanes; ++l)
      if (threads_[first + l].state == State::at_shuffle) here |= 1u << l;
    uint64_t got[32];
    unsigned free = 0;
    for (size_t l = 0; l < lanes; ++l) {
      const Thread& t = threads_[first + l];
      if (!(here >> l & 1u) || (t.mask & here) != t.mask) continue;
      got[l] = threads_[first + static_cast<size_t>(t.from)].value;
      free |= 1u << l;
    }
    for (size_t l = 0; l < lanes; ++l)
      if (free >> l & 1u) {
        threads_[first + l].value = got[l];
        threads_[first + l].state = State::ready;
        runnable_.push_back(first + l);
      }
  }

  struct Free {
    void operator()(char* p) const { ::operator delete[](p, std::align_val_t{64}); }
  };
  const std::function<void()>* body_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<size_t> runnable_, idle_;  // threads; fibers
  std::vector<std::unique_ptr<char[], Free>> fibers_;
  std::map<const void*, std::vector<std::max_align_t>> shared_;
  std::map<std::pair<const char*, int>, int64_t> places_;
  int64_t left_out_ = -1;
  std::exception_ptr failure_;
  size_t current_ = 0;
  void* home_ = nullptr;
  Stack home_stack_;
};

}  // namespace

void wait_for_block(const char* file, int line) {
  Runner::instance().wait_for_block(file, line);
}
uint64_t exchange(unsigned mask, uint64_t value, int from) {
  return Runner::instance().exchange(mask, value, from);
}
void* shared_bytes(size_t bytes, const void* name) {
  return Runner::instance().shared(bytes, name);
}
void run_block(const std::function<void()>& body, dim3 block, Order& order) {
  Runner::instance().run(body, block, order);
}
int64_t barrier_places() {
  return Runner::instance().places();
}
void leave_out_barrier(int64_t place) {
  Runner::instance().leave_out(place);
}
void forget_barriers() {
  Runner::instance().forget();
}

}  // namespace simulated
