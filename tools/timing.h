// Clocks of the commands that measure.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace tidepool {

using Clock = std::chrono::steady_clock;

inline double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

/// The upper one of the two middle values when their number is even. At least one value.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// The smallest value that `percent` percent of them do not exceed. At least one value.
inline double percentile(std::vector<double> values, int percent) {
  std::sort(values.begin(), values.end());
  return values[(values.size() * static_cast<size_t>(percent) + 99) / 100 - 1];
}

/// The median of `repeats` calls, after two that do not count.
template <class F>
double median_seconds(int64_t repeats, const F& work) {
  constexpr int kWarmup = 2;
  std::vector<double> seconds;
  for (int64_t i = -kWarmup; i < repeats; ++i) {
    const auto begin = Clock::now();
    work();
    if (i >= 0) seconds.push_back(seconds_between(begin, Clock::now()));
  }
  return median(seconds);
}

}  // namespace tidepool
