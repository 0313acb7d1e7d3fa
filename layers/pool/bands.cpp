#include "layers/pool/bands.h"

#include <algorithm>

namespace tidepool {

void BandMatrix::add(int64_t begin, const std::vector<double>& values) {
  rows.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(begin + static_cast<int64_t>(values.size())),
                  static_cast<int64_t>(weights.size())});
  weights.insert(weights.end(), values.begin(), values.end());
}

BandMatrix BandMatrix::transposed() const {
  std::vector<Band> columns(static_cast<size_t>(n));  // rows [begin, end) that have a weight there
  for (int32_t row = 0; row < static_cast<int32_t>(rows.size()); ++row)
    for (int32_t i = rows[static_cast<size_t>(row)].begin; i < rows[static_cast<size_t>(row)].end; ++i) {
      Band& c = columns[static_cast<size_t>(i)];
      if (c.end == 0) c.begin = row;
      c.end = row + 1;
    }
  BandMatrix t{.n = m(), .rows = {}, .weights = {}};
  for (int32_t i = 0; i < static_cast<int32_t>(n); ++i) {
    const Band& c = columns[static_cast<size_t>(i)];
    std::vector<double> values;
    for (int32_t row = c.begin; row < c.end; ++row) {
      const Band& r = rows[static_cast<size_t>(row)];
      values.push_back(i >= r.begin && i < r.end ? weights[static_cast<size_t>(r.at + i - r.begin)] : 0.0);
    }
    t.add(c.begin, values);
  }
  return t;
}

BandMatrix BandMatrix::identity(int64_t n) {
  BandMatrix m{.n = n, .rows = {}, .weights = {}};
  for (int64_t i = 0; i < n; ++i) m.add(i, {1.0});
  return m;
}

BandMatrix BandMatrix::means(int64_t n, const std::vector<Span>& windows) {
  BandMatrix m{.n = n, .rows = {}, .weights = {}};
  for (const Span& w : windows)
    m.add(w.begin, std::vector<double>(static_cast<size_t>(w.length()), 1.0 / static_cast<double>(w.length())));
  return m;
}

BandMatrix BandMatrix::sum(int64_t n) {
  BandMatrix m{.n = n, .rows = {}, .weights = {}};
  m.add(0, std::vector<double>(static_cast<size_t>(n), 1.0));
  return m;
}

std::array<BandMatrix, 3> transposed(const std::array<BandMatrix, 3>& matrices) {
  return {matrices[0].transposed(), matrices[1].transposed(), matrices[2].transposed()};
}

}  // namespace tidepool
