// Statistics of a few seeds: what a table says of its rows.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>

namespace tidepool {

/// Mean and sample standard deviation (divisor n - 1).
struct Summary {
  int64_t n = 0;
  double mean = 0;
  std::optional<double> deviation;  ///< none when n < 2
};
/// None for no values.
std::optional<Summary> summarize(std::span<const double> values);

/// Mean of differences between pairs.
struct PairedDifference {
  int64_t n = 0;
  double mean = 0;
  /// Student's t interval that covers the mean difference with probability 0.95; none when n < 2, and none when all
  /// differences are the same (to rounding): equal by chance, they say nothing about their spread.
  std::optional<std::pair<double, double>> interval;
};
/// `value` minus `baseline` over the seeds that both have; none when there is no such seed.
std::optional<PairedDifference> paired_difference(const std::map<uint64_t, double>& value,
                                                  const std::map<uint64_t, double>& baseline);

/// I_x(a, b) for a, b > 0 and x in [0, 1], by Lentz's continued fraction (Press et al., Numerical Recipes, 6.4);
/// relative error about 1e-13.
double incomplete_beta(double a, double b, double x);

/// P(T <= t) of Student's t with `freedom` > 0 degrees of freedom.
double student_t_cdf(double t, double freedom);
/// Its inverse, p in (0, 1). Throws Error outside.
double student_t_quantile(double p, double freedom);

}  // namespace tidepool
