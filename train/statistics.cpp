#include "train/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"

namespace tidepool {
namespace {

// The continued fraction of I_x(a, b); converges fast for x < (a + 1) / (a + b + 2).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300, kEnough = 1e-15;
  double c = 1, d = 1 - (a + b) * x / (a + 1);
  d = 1 / (std::abs(d) < kTiny ? kTiny : d);
  double product = d;
  for (int m = 1; m <= 10000; ++m) {
    double change = 1;
    for (const double term : {m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
                              -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))}) {
      d = 1 + term * d;
      c = 1 + term / c;
      if (std::abs(d) < kTiny) d = kTiny;
      if (std::abs(c) < kTiny) c = kTiny;
      d = 1 / d;
      change = c * d;
      product *= change;
    }
    if (std::abs(change - 1) < kEnough) break;
  }
  return product;
}

// P(T > t) for t >= 0, without the cancellation of 1 - cdf.
double upper_tail(double t, double freedom) {
  return 0.5 * incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t));
}

}  // namespace

std::optional<Summary> summarize(std::span<const double> values) {
  if (values.empty()) return std::nullopt;
  const auto n = static_cast<double>(values.size());
  double sum = 0;
  for (const double v : values) sum += v;
  Summary s{.n = static_cast<int64_t>(values.size()), .mean = sum / n, .deviation = std::nullopt};
  if (values.size() >= 2) {
    double squares = 0;
    for (const double v : values) squares += (v - s.mean) * (v - s.mean);
    s.deviation = std::sqrt(squares / (n - 1));
  }
  return s;
}

std::optional<PairedDifference> paired_difference(const std::map<uint64_t, double>& value,
                                                  const std::map<uint64_t, double>& baseline) {
  std::vector<double> differences;
  double largest = 0;
  for (const auto& [seed, v] : value)
    if (const auto other = baseline.find(seed); other != baseline.end()) {
      differences.push_back(v - other->second);
      largest = std::max({largest, std::abs(v), std::abs(other->second)});
    }
  const auto s = summarize(differences);
  if (!s) return std::nullopt;
  PairedDifference d{.n = s->n, .mean = s->mean, .interval = std::nullopt};
  if (s->deviation && *s->deviation > 1e-12 * largest) {
    const auto n = static_cast<double>(s->n);
    const double half = student_t_quantile(0.975, n - 1) * *s->deviation / std::sqrt(n);
    d.interval = {s->mean - half, s->mean + half};
  }
  return d;
}

double incomplete_beta(double a, double b, double x) {
  if (!(a > 0) || !(b > 0) || !(x >= 0) || !(x <= 1))
    throw Error("incomplete_beta: expected a, b > 0 and x in [0, 1], got a {}, b {}, x {}", a, b, x);
  if (x == 0 || x == 1) return x;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double student_t_cdf(double t, double freedom) {
  if (!(freedom > 0)) throw Error("Student's t: expected degrees of freedom above 0, got {}", freedom);
  const double tail = upper_tail(std::abs(t), freedom);
  return t > 0 ? 1 - tail : tail;
}

double student_t_quantile(double p, double freedom) {
  if (!(freedom > 0)) throw Error("Student's t: expected degrees of freedom above 0, got {}", freedom);
  if (!(p > 0) || !(p < 1)) throw Error("quantile of Student's t: expected a probability in (0, 1), got {}", p);
  if (p == 0.5) return 0;
  const double tail = p < 0.5 ? p : 1 - p;
  double low = 0, high = 1;
  while (upper_tail(high, freedom) > tail && high < std::numeric_limits<double>::max() / 4) {
    low = high;
    high *= 2;
  }
  // The tail falls monotonically: halve until the doubles meet.
  for (int i = 0; i < 200; ++i) {
    const double middle = 0.5 * (low + high);
    if (middle <= low || middle >= high) break;
    (upper_tail(middle, freedom) > tail ? low : high) = middle;
  }
  const double t = 0.5 * (low + high);
  return p < 0.5 ? -t : t;
}

}  // namespace tidepool
