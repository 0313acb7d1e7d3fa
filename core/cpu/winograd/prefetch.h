// A queue of software prefetches, drained during the products, which leave memory idle.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace tidepool::winograd {

/// Cache lines to prefetch, at most one per step of a product. Bursts between two products would not do: a core holds
/// few such requests and drops the rest (Zen 4, weight gradients: no gain from bursts, 30 to 40% from this).
struct PrefetchLines {
  static constexpr int64_t kSize = 64;
  uintptr_t at;    ///< no pointer: the last may lie behind the memory that was asked for, which does no harm
  uintptr_t step;  ///< 0: the same line again and again, since nothing is left to bring

  static PrefetchLines from(const void* first) { return {reinterpret_cast<uintptr_t>(first), kSize}; }
  /// `bytes` spread over `steps` steps. Some lines are left out where there are fewer steps than lines.
  static PrefetchLines spread(const void* first, int64_t bytes, int64_t steps) {
    return {reinterpret_cast<uintptr_t>(first), static_cast<uintptr_t>((bytes + steps - 1) / steps)};
  }
  void next() {
    __builtin_prefetch(reinterpret_cast<const void*>(at), 0, 2);
    at += step;
  }
};

/// Runs of memory in the order in which they are needed, taken line by line.
class PrefetchQueue {
 public:
  template <class T>
  void add(const T* begin, const T* end) {
    if (begin < end) runs_[count_++] = {reinterpret_cast<uintptr_t>(begin), reinterpret_cast<uintptr_t>(end)};
  }
  /// Lines for `steps` steps. `idle` is in cache anyway.
  PrefetchLines take(int64_t steps, const void* idle) {
    if (next_ == count_) return {reinterpret_cast<uintptr_t>(idle), 0};
    Run& run = runs_[next_];
    const PrefetchLines lines{run.at, PrefetchLines::kSize};
    run.at += static_cast<uintptr_t>(steps * PrefetchLines::kSize);
    if (run.at >= run.end) ++next_;
    return lines;
  }

 private:
  struct Run {
    uintptr_t at, end;
  };
  std::array<Run, 3> runs_;  // as many as anyone adds: two maps that are read and one that is written
  size_t next_ = 0, count_ = 0;
};

}  // namespace tidepool::winograd
