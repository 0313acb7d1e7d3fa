// A resize is a linear map along each axis: an output is a weighted sum of a few positions. Its backward is the same
// kernel with the transposed maps, so every gradient is gathered in a fixed order. Gradients are set, not added.
#include "layers/resize.h"

#include <algorithm>
#include <vector>

#include "core/backend/resize.h"
#include "core/tape.h"

namespace tidepool {

const char* name_of(ResizeMode mode) {
  return mode == ResizeMode::bilinear ? "bilinear" : "nearest";
}

namespace {

AxisMap transposed(const AxisMap& map) {
  AxisMap t(map.m, map.n);
  std::vector<std::vector<AxisMap::Term>> readers(static_cast<size_t>(map.n));
  for (int64_t i = 0; i < map.m; ++i)
    for (const AxisMap::Term& term : map.of(i)) readers[static_cast<size_t>(term.from)].push_back({i, term.weight});
  for (const std::vector<AxisMap::Term>& r : readers) {
    t.terms.insert(t.terms.end(), r.begin(), r.end());
    t.starts.push_back(static_cast<int64_t>(t.terms.size()));
  }
  return t;
}

AxisMap axis_map(int64_t n, int64_t m, ResizeMode mode) {
  AxisMap map(n, m);
  for (int64_t o = 0; o < m; ++o) {
    if (mode == ResizeMode::nearest) {
      map.add({{o * n / m, 1.0}});
      continue;
    }
    // ((o + 1/2) n / m - 1/2) in units of 1 / 2m, in whole numbers.
    const int64_t at = std::max<int64_t>(0, (2 * o + 1) * n - m), low = at / (2 * m), rest = at % (2 * m);
    const double fraction = static_cast<double>(rest) / static_cast<double>(2 * m);
    if (rest == 0 || low + 1 >= n)
      map.add({{low, 1.0}});
    else
      map.add({{low, 1.0 - fraction}, {low + 1, fraction}});
  }
  return map;
}

AxisMaps axis_maps(const Dims& x, const Dims& size, ResizeMode mode) {
  const auto axis = [&](int i) {
    const int at = i - (3 - size.rank());
    return at < 0 ? axis_map(1, 1, ResizeMode::nearest) : axis_map(x[2 + at], size[at], mode);
  };
  return {axis(0), axis(1), axis(2)};
}

// y of x by the maps of the axes; both are dense in one format.
Tensor mapped(const Tensor& x, const AxisMaps& maps, const Dims& shape) {
  const Tensor y = Tensor::empty(shape, x.options());
  resize_axes(x, maps, y);
  return y;
}

}  // namespace

Tensor resize(const Tensor& x, const Dims& size, ResizeMode mode) {
  if (x.rank() < 3) throw Error("[resize] expected an input N x C x spatial, got the shape {}", x.shape().str());
  if (!is_floating(x.dtype()))
    throw Error("[resize] expected an input of f32, f64 or bf16, got {}", name_of(x.dtype()));
  if (size.rank() != x.rank() - 2)
    throw Error("[resize] expected a size of {} lengths for an input of shape {}, got {}", x.rank() - 2,
                x.shape().str(), size.str());
  Dims shape = x.shape();
  for (int i = 0; i < size.rank(); ++i) {
    if (size[i] < 1) throw Error("[resize] expected lengths of 1 or more, got the size {}", size.str());
    if (x.size(2 + i) < 1) throw Error("[resize] an input of shape {} has no positions", x.shape().str());
    shape[2 + i] = size[i];
  }
  if (shape == x.shape()) return x;
  const Tensor in = x.contiguous();
  const Tensor y = mapped(in, axis_maps(x.shape(), size, mode), shape);
  const Dims x_shape = x.shape();
  const MemoryFormat format = in.format();
  Tape::record("resize", {x}, {y}, {}, [x_shape, size, mode, format](BackwardContext& ctx) {
    AxisMaps maps = axis_maps(x_shape, size, mode);
    for (AxisMap& map : maps) map = transposed(map);
    ctx.dx(0) = mapped(ctx.dy().contiguous(format), maps, x_shape);
  });
  return y;
}

}  // namespace tidepool
