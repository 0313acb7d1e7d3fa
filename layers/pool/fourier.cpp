#include "layers/pool/fourier.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tidepool {
namespace {

constexpr double kPi = 3.14159265358979323846;

/// cos(2 pi k t / all), the product taken modulo its turn in whole numbers.
double turn_cos(int64_t k, int64_t t, int64_t all) {
  return std::cos(2 * kPi * static_cast<double>(k * t % all) / static_cast<double>(all));
}

/// sin(pi t / all), to the last digits near its zeros too.
double half_turn_sin(int64_t t, int64_t all) {
  t %= 2 * all;
  const double sign = t < all ? 1 : -1;
  if (t >= all) t -= all;
  return sign * std::sin(kPi * static_cast<double>(std::min(t, all - t)) / static_cast<double>(all));
}

/// The sum of cos(2 pi k t / all) over |k| <= most (Dirichlet's kernel); 0 <= t < all.
double cosines(int64_t most, int64_t t, int64_t all) {
  if (most < 0) return 0;
  if (t == 0) return static_cast<double>(2 * most + 1);
  return half_turn_sin((2 * most + 1) * t, all) / half_turn_sin(t, all);
}

constexpr int64_t kTable = int64_t{1} << 20;

}  // namespace

Spectrum Spectrum::crop(int64_t n, int64_t m) {
  return {.n = n, .m = m, .flat = highest(m), .from = 0, .ramp = {}, .same = n == m};
}

FourierMatrix::FourierMatrix(const Spectrum& s) : s_(s), unit_(std::gcd(s.n, s.m)) {
  const int64_t phases = s.n * s.m / unit_;
  if (phases > kTable) return;
  table_.reserve(static_cast<size_t>(phases));
  for (int64_t i = 0; i < phases; ++i)  // cosines: A at -t is A at t
    table_.push_back(2 * i > phases ? table_[static_cast<size_t>(phases - i)] : at_phase(i * unit_));
}

double FourierMatrix::operator()(int64_t o, int64_t j) const {
  const int64_t all = s_.n * s_.m;
  int64_t t = (o * s_.n - j * s_.m) % all;
  if (t < 0) t += all;
  return table_.empty() ? at_phase(t) : table_[static_cast<size_t>(t / unit_)];
}

double FourierMatrix::at_phase(int64_t t) const {
  const int64_t all = s_.n * s_.m;
  double sum = cosines(s_.flat, t, all);
  for (size_t i = 0; i < s_.ramp.size(); ++i) {
    const int64_t k = s_.from + static_cast<int64_t>(i);
    sum += (k == 0 ? 1 : 2) * s_.ramp[i] * turn_cos(k, t, all);
  }
  const int64_t top = Spectrum::highest(s_.m);
  if (s_.m == s_.n && s_.m % 2 == 0) {  // +n/2 and -n/2 are one frequency
    const int64_t i = top - s_.from;
    const double weight = top <= s_.flat                                       ? 1.0
                          : i >= 0 && i < static_cast<int64_t>(s_.ramp.size()) ? s_.ramp[static_cast<size_t>(i)]
                                                                               : 0.0;
    sum -= weight * turn_cos(top, t, all);
  }
  return sum / static_cast<double>(s_.n);
}

}  // namespace tidepool
