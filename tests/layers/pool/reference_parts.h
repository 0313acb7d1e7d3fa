// What the naive references share.
#pragma once
#include <array>
#include <cmath>
#include <functional>

#include "tests/layers/pool/reference.h"

namespace tidepool::reference {

/// A map's axes, absent ones of length 1 in front.
struct Map {
  int64_t planes = 1;
  std::array<int64_t, 3> n{1, 1, 1};
  int rank = 0;

  explicit Map(const Dims& shape) : planes(shape[0] * shape[1]), rank(shape.rank() - 2) {
    for (int i = 0; i < rank; ++i) n[static_cast<size_t>(3 - rank + i)] = shape[2 + i];
  }
  size_t at(int64_t plane, int64_t d, int64_t h, int64_t w) const {
    return static_cast<size_t>(((plane * n[0] + d) * n[1] + h) * n[2] + w);
  }
  void each(const std::function<void(int64_t plane, int64_t d, int64_t h, int64_t w)>& f) const {
    for (int64_t p = 0; p < planes; ++p)
      for (int64_t d = 0; d < n[0]; ++d)
        for (int64_t h = 0; h < n[1]; ++h)
          for (int64_t w = 0; w < n[2]; ++w) f(p, d, h, w);
  }
};

template <class T>
T key(const json& config, const char* name, int axis, int rank, T otherwise) {
  if (!config.contains(name)) return otherwise;
  const json& v = config[name];
  const int i = axis - (3 - rank);
  if (i < 0) return otherwise;  // an absent axis
  return v.is_array() ? v[static_cast<size_t>(i)].get<T>() : v.get<T>();
}

inline Dims out_shape(const Dims& x, const std::array<int64_t, 3>& m) {
  Dims y = x;
  for (int i = 2; i < x.rank(); ++i) y[i] = m[static_cast<size_t>(3 - x.rank() + i)];
  return y;
}

/// Index of the first of the largest; of a NaN when there is one.
inline size_t first_largest(const Values& v) {
  size_t best = 0;
  for (size_t i = 1; i < v.size(); ++i)
    if (std::isnan(v[i]) || v[i] > v[best]) best = i;
  for (size_t i = 0; i < v.size(); ++i)
    if (std::isnan(v[i])) return i;
  return best;
}

/// The operators of reference_maps.cpp; an empty result for others.
Result maps(const json& config, const Dims& shape, const Values& x, const std::vector<Values>& parameters,
            const Values& dy);

}  // namespace tidepool::reference
