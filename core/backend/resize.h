// Resizes: linear maps along each axis. Nothing is recorded here.
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "core/backend/table.h"

namespace tidepool {

/// A weighted sum of positions of one axis, for each result.
struct AxisMap {
  struct Term {
    int64_t from;
    double weight;
  };
  int64_t n, m;  ///< positions in, results
  std::vector<int64_t> starts{0};
  std::vector<Term> terms;

  AxisMap(int64_t in, int64_t out) : n(in), m(out) {}
  void add(std::initializer_list<Term> of_result) {
    terms.insert(terms.end(), of_result);
    starts.push_back(static_cast<int64_t>(terms.size()));
  }
  /// The terms of result i, in order; `from` rises.
  std::span<const Term> of(int64_t i) const {
    const int64_t begin = starts[static_cast<size_t>(i)], end = starts[static_cast<size_t>(i + 1)];
    return std::span(terms).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  }
};
/// The maps of the axes D, H and W; an absent axis has length 1.
using AxisMaps = std::array<AxisMap, 3>;

struct ResizeTable {
  const char* name;
  /// y [N, C, results] of x [N, C, positions], dense, of one type and format.
  bool (*resize)(const Tensor& x, const AxisMaps& maps, const Tensor& y);
};

namespace backend {
template <>
std::span<const ResizeTable* const> tables<ResizeTable>(Device device);
}

inline void resize_axes(const Tensor& x, const AxisMaps& maps, const Tensor& y) {
  backend::run("resize", &ResizeTable::resize, x, maps, y);
}

}  // namespace tidepool
