#include "layers/pool/adaptive.h"

namespace tidepool {

AdaptivePool::AdaptivePool(const char* name, const PerAxis<int64_t>& output_size)
    : name_(name), output_size_(output_size) {
  if (output_size.count == 0) throw Error("[{}] key 'output_size' is missing: a number, or one per axis", name);
}

AdaptivePool::Grid AdaptivePool::grid(const Dims& x) const {
  const int rank = expect_rank(name_, x, {1, 2, 3});
  output_size_.expect_axes(name_, "output_size", rank);
  expect_positions(name_, x);
  Grid g;
  for (int i = 0; i < rank; ++i) {
    g.n[static_cast<size_t>(3 - rank + i)] = x[2 + i];
    g.m[static_cast<size_t>(3 - rank + i)] = output_size_[i];
  }
  return g;
}

bool AdaptivePool::Grid::uniform() const {
  int64_t volume = 1;
  for (size_t i = 0; i < 3; ++i) {
    if (n[i] % m[i] != 0) return false;
    volume *= n[i] / m[i];
  }
  return volume <= 64;
}

WindowGeometry AdaptivePool::Grid::windows(MapLayout map) const {
  WindowGeometry g{{}, map};
  for (size_t i = 0; i < 3; ++i) {
    const auto k = static_cast<int32_t>(n[i] / m[i]);
    g.axis[i] = {n[i], m[i], k, k, 0, 1};
  }
  return g;
}

Dims AdaptivePool::output_shape(const Dims& x, std::span<const Tensor> parameters) const {
  const Grid g = grid(x);
  expect_parameters(name_, {}, parameters);
  return resized_shape(name_, x, x[1], g.m);
}

TracedShape AdaptivePool::trace(const TracedShape& x, std::span<const Tensor> parameters, const std::string& /*name*/,
                                Trace& /*trace*/) const {
  return TracedShape::of(output_shape(x.dims(), parameters));  // lengths that pass no slope on
}

}  // namespace tidepool
