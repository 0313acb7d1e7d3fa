#include "layers/pool/adaptive.h"

#include "core/tape.h"

namespace tidepool {

AdaptivePool::AdaptivePool(const AdaptiveText& text, const AdaptiveOptions& options)
    : name_(options.global ? text.global_name : text.name), output_size_(options.output_size) {
  if (output_size_.count == 0) throw Error("[{}] key 'output_size' is missing: a number, or one per axis", name_);
}

AdaptivePool::Grid AdaptivePool::grid(const Dims& x, MemoryFormat format) const {
  const int rank = expect_rank(name_, x, {1, 2, 3});
  output_size_.expect_axes(name_, "output_size", rank);
  expect_positions(name_, x);
  Grid g{.map = MapLayout::of(x, format)};
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

WindowGeometry AdaptivePool::Grid::windows() const {
  WindowGeometry g{{}, map};
  for (size_t i = 0; i < 3; ++i) {
    const auto k = static_cast<int32_t>(n[i] / m[i]);
    g.axis[i] = {n[i], m[i], k, k, 0, 1};
  }
  return g;
}

Dims AdaptivePool::output_shape(const Dims& x, std::span<const Tensor> parameters) const {
  const Grid g = grid(x, MemoryFormat::plain);
  expect_parameters(name_, {}, parameters);
  return resized_shape(name_, x, x[1], g.m);
}

Tensor AdaptivePool::run(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& /*mode*/) const {
  const Dims shape = x.shape();
  const MemoryFormat format = x.format();
  const Grid g = grid(shape, format);
  const Tensor y = Tensor::empty(output_shape(shape, parameters), {x.dtype(), format, x.device()});
  const Tensor kept = reduce(g, x.contiguous(format), y, Tape::wants({x}));
  Tape::record(name_, {x}, {y}, {kept}, [this, g, shape, format](BackwardContext& ctx) {
    if (!ctx.needs(0)) return;
    const Tensor dy = ctx.dy().contiguous(format);
    ctx.dx(0) = Tensor::empty(shape, {dy.dtype(), format, dy.device()});
    spread(g, ctx.saved(0), dy, ctx.dx(0));
  });
  return y;
}

TracedShape AdaptivePool::trace(const TracedShape& x, std::span<const Tensor> parameters, const std::string& /*name*/,
                                Trace& /*trace*/) const {
  return TracedShape::of(output_shape(x.dims(), parameters));  // lengths that pass no slope on
}

}  // namespace tidepool
