// adaptive_avg and global_avg: the mean of each cell of a grid of fixed size; cells overlap where the lengths do not
// divide.
#include "core/tape.h"
#include "layers/pool/adaptive.h"
#include "layers/pool/avg.h"
#include "layers/pool/bands.h"

namespace tidepool {
namespace {

class AdaptiveAvg final : public AdaptivePool {
 public:
  static constexpr AdaptiveText kText{
      .name = "adaptive_avg",
      .global_name = "global_avg",
      .formula = "y_i = mean of x over [floor(i n / m), ceil((i + 1) n / m)) on every axis",
      .global_formula = "y = mean of x; every axis is left with length 1",
      .gradient = "dx_i = sum over windows dy / n, n elements in the window",
      .source = "Lin, Chen, Yan: Network in network, ICLR 2014; windows as torch.nn.AdaptiveAvgPool",
      .keeps = "nothing"};
  using AdaptivePool::AdaptivePool;

  Tensor run(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& /*mode*/) const override {
    const Dims shape = x.shape();
    const Grid g = grid(shape);
    const MemoryFormat format = x.format();
    const MapLayout map = MapLayout::of(shape, format);
    const Tensor y = Tensor::empty(output_shape(shape, parameters), {x.dtype(), format, x.device()});
    if (g.uniform())
      avg_forward(g.windows(map), x.contiguous(format), y);
    else
      apply_bands(name_, means(g), map, x.contiguous(format), y);
    Tape::record(name_, {x}, {y}, {}, [this, g, map, shape, format](BackwardContext& ctx) {
      if (!ctx.needs(0)) return;
      const Tensor dy = ctx.dy().contiguous(format);
      Tensor& dx = ctx.dx(0);
      dx = Tensor::empty(shape, {dy.dtype(), format, dy.device()});
      if (g.uniform()) return avg_backward(g.windows(map), dy, dx);
      apply_bands(name_, transposed(means(g)), map, dy, dx);
    });
    return y;
  }

 private:
  static std::array<BandMatrix, 3> means(const Grid& g) {
    std::array<BandMatrix, 3> all;
    for (size_t i = 0; i < 3; ++i) all[i] = BandMatrix::means(g.n[i], adaptive_spans(g.n[i], g.m[i]));
    return all;
  }
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_adaptive_avg() {
  return describe_adaptive<AdaptiveAvg, AdaptiveOptions>();
}
const PoolDescription& pool_global_avg() {
  return describe_adaptive<AdaptiveAvg, GlobalOptions>();
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
