// Memory that a core needs soon, brought into its own cache while it forms products, which leave memory idle.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace tidepool::winograd {

/// Lines that are brought nearer, at most one a step of a product. Bursts of them between two products would not do: a
/// core has room for few such requests and drops the rest (Zen 4, weight gradients: no gain from bursts, 30 to 40% from
/// this).
struct Lines {
  static constexpr int64_t kSize = 64;
  uintptr_t at;    ///< no pointer: the last may lie behind the memory that was asked for, which does no harm
  uintptr_t step;  ///< 0: the same line again and again, since nothing is left to bring

  static Lines from(const void* first) { return {reinterpret_cast<uintptr_t>(first), kSize}; }
  /// `bytes` spread over `steps` steps. Some lines are left out where there are fewer steps than lines.
  static Lines spread(const void* first, int64_t bytes, int64_t steps) {
    return {reinterpret_cast<uintptr_t>(first), static_cast<uintptr_t>((bytes + steps - 1) / steps)};
  }
  void next() {
    __builtin_prefetch(reinterpret_cast<const void*>(at), 0, 2);
    at += step;
  }
};

/// Runs of memory in the order in which they are needed, taken line by line.
class Upcoming {
 public:
  template <class T>
  void add(const T* begin, const T* end) {
    if (begin < end) runs_[count_++] = {reinterpret_cast<uintptr_t>(begin), reinterpret_cast<uintptr_t>(end)};
  }
  /// Lines for `steps` steps. `idle` is in cache anyway.
  Lines take(int64_t steps, const void* idle) {
    if (next_ == count_) return {reinterpret_cast<uintptr_t>(idle), 0};
    Run& run = runs_[next_];
    const Lines lines{run.at, Lines::kSize};
    run.at += static_cast<uintptr_t>(steps * Lines::kSize);
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
