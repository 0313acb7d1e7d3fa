// adaptive_max and global_max: the largest element of each cell of a grid of fixed size; cells overlap where the
// lengths do not divide.
#include "core/tape.h"
#include "layers/pool/adaptive.h"
#include "layers/pool/max.h"
#include "layers/pool/spans.h"

namespace tidepool {
namespace {

class AdaptiveMax final : public AdaptivePool {
 public:
  static constexpr AdaptiveText kText{
      .name = "adaptive_max",
      .global_name = "global_max",
      .formula = "y_i = max of x over [floor(i n / m), ceil((i + 1) n / m)) on every axis",
      .global_formula = "y = max of x; every axis is left with length 1",
      .gradient = "dx_i = sum over windows dy at the first of the largest elements, else 0",
      .source = "Lin, Chen, Yan: Network in network, ICLR 2014; windows as torch.nn.AdaptiveMaxPool",
      .keeps = "the winner's index, 1 byte per output (4 when a window has over 256 elements)"};
  using AdaptivePool::AdaptivePool;

  Tensor run(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& /*mode*/) const override {
    const Dims shape = x.shape();
    const Grid g = grid(shape);
    const MemoryFormat format = x.format();
    const MapLayout map = MapLayout::of(shape, format);
    const Tensor y = Tensor::empty(output_shape(shape, parameters), {x.dtype(), format, x.device()});
    const Tensor dense = x.contiguous(format);
    Tensor winners;
    const SpanAxes spans = g.uniform() ? SpanAxes{} : spans_of(g, x.device());
    if (Tape::wants({x})) winners = empty_span_winners(g.uniform() ? 1 : spans.volume, y);
    if (g.uniform())
      max_forward(g.windows(map), dense, y, winners);
    else
      span_max(name_, spans, map, {0, spans.positions_out()}, dense, y, winners);
    Tape::record(name_, {x}, {y}, {winners}, [this, g, map, shape, format](BackwardContext& ctx) {
      if (!ctx.needs(0)) return;
      const Tensor dy = ctx.dy().contiguous(format);
      Tensor& dx = ctx.dx(0);
      dx = Tensor::empty(shape, {dy.dtype(), format, dy.device()});
      if (g.uniform()) return max_backward(g.windows(map), ctx.saved(0), dy, dx);
      const SpanAxes axes = spans_of(g, dy.device());
      span_max_backward(name_, axes, map, {0, axes.positions_out()}, ctx.saved(0), dy, dx);
    });
    return y;
  }

 private:
  static SpanAxes spans_of(const Grid& g, Device device) {
    SpanAxes axes;
    for (int i = 0; i < 3; ++i) {
      const auto a = static_cast<size_t>(i);
      axes.share(i, g.n[a], adaptive_spans(g.n[a], g.m[a]), device);
    }
    return axes;
  }
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_adaptive_max() {
  return describe_adaptive<AdaptiveMax, AdaptiveOptions>();
}
const PoolDescription& pool_global_max() {
  return describe_adaptive<AdaptiveMax, GlobalOptions>();
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
