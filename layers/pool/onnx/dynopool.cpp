// dynopool at the size that it has learned: the samples of its cells, and what it makes of them.
#include "layers/pool/dynopool_plan.h"
#include "layers/pool/onnx/sample.h"

namespace tidepool::pool_onnx {

onnx::Value dynopool(const Call& c) {
  DynoPoolPlan p{.options = {}, .rank = c.rank()};
  Keys keys(c.config);
  p.options.keys(keys);
  const Tensor delta = c.tensor("delta");
  for (int i = 0; i < p.rank; ++i) {
    const auto axis = static_cast<size_t>(p.first_axis() + i);
    p.n[axis] = c.shape[2 + i];
    p.m[axis] = c.output[2 + i];
    if (delta) p.delta[axis] = delta.values()[static_cast<size_t>(i)];
  }
  if (p.windows()) {
    const WindowGeometry g = p.geometry();
    return max_pool(c.x, {g.axis.begin() + p.first_axis(), g.axis.end()});
  }
  onnx::Value v = c.x;
  std::vector<int64_t> cells{0, 0}, sides;  // [N, C, m, 2, m, 2, ...]
  for (int i = 0; i < p.rank; ++i) {
    const auto axis = static_cast<size_t>(p.first_axis() + i);
    std::vector<Sample> samples;
    for (int64_t o = 0; o < p.m[axis]; ++o)
      for (int side = 0; side < 2; ++side) samples.push_back(query(p, axis, o, side).sample);
    v = sampled(v, c.shape.rank(), 2 + i, samples);
    cells.insert(cells.end(), {p.m[axis], 2});
    sides.push_back(3 + 2 * i);
  }
  v = onnx::reshape(v, cells);
  if (p.options.aggregate == Aggregate::max) return onnx::reduce("ReduceMax", v, sides, false);
  if (p.options.aggregate == Aggregate::avg) return onnx::reduce("ReduceMean", v, sides, false);
  const onnx::Value m = onnx::reduce("ReduceMax", v, sides), u = v - m, w = onnx::exp(u);
  const onnx::Value y = m + onnx::reduce("ReduceSum", w * u, sides) / onnx::reduce("ReduceSum", w, sides);
  return y.graph->node("Squeeze", {y, y.graph->integers(sides)});
}

}  // namespace tidepool::pool_onnx
