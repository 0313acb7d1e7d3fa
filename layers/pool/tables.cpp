#include "layers/pool/tables.h"

#include <algorithm>

namespace tidepool {

std::vector<double> binomial_taps(int64_t k) {
  std::vector<double> row{1.0};
  for (int64_t i = 1; i < k; ++i) {
    row.push_back(0.0);
    for (size_t j = row.size() - 1; j > 0; --j) row[j] = (row[j] + row[j - 1]) / 2;
    row[0] /= 2;
  }
  return row;
}

int64_t middle_start(int64_t n, int64_t m, int64_t k, int64_t i) {
  const int64_t room = n - k, unit = 2 * (m - 1);
  return i == m - 1 ? room : (2 * i + 1) * room / unit - room / unit;
}

std::vector<Sample> corner_samples(int64_t n, int64_t m) {
  std::vector<Sample> samples;
  const int64_t unit = std::max<int64_t>(1, m - 1);
  for (int64_t o = 0; o < m; ++o) {
    const int64_t at = o * (n - 1), low = at / unit, rest = at % unit;
    samples.push_back({low, rest == 0 ? low : low + 1, static_cast<double>(rest) / static_cast<double>(unit)});
  }
  return samples;
}

double mask_argument(int64_t n, double stride, double smoothness, int64_t k) {
  return (smoothness + static_cast<double>(n) / (2 * stride) - static_cast<double>(k)) / smoothness;
}

Spectrum masked_spectrum(int64_t n, int64_t m, double stride, double smoothness) {
  Spectrum s{.n = n, .m = m, .flat = -1, .from = 0, .ramp = {}, .same = false};
  for (int64_t k = 0; k <= Spectrum::highest(s.m); ++k) {
    const double a = mask_argument(n, stride, smoothness, k);
    if (a <= 0) break;
    if (a >= 1)
      s.flat = k;
    else
      s.ramp.push_back(a);
  }
  s.from = s.flat + 1;
  return s;
}

}  // namespace tidepool
