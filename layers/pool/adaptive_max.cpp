// adaptive_max and global_max: the largest element of each cell of a grid of fixed size; cells overlap where the
// lengths do not divide.
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
  explicit AdaptiveMax(const AdaptiveOptions& options) : AdaptivePool(kText, options) {}

 private:
  Tensor reduce(const Grid& g, const Tensor& x, const Tensor& y, bool recorded) const override {
    const SpanAxes spans = g.uniform() ? SpanAxes{} : spans_of(g, x.device());
    const Tensor winners = recorded ? empty_span_winners(spans.volume, y) : Tensor{};
    if (g.uniform())
      max_forward(g.windows(), x, y, winners);
    else
      span_max(name_, spans, g.map, {0, spans.positions_out()}, x, y, winners);
    return winners;
  }
  void spread(const Grid& g, const Tensor& winners, const Tensor& dy, const Tensor& dx) const override {
    if (g.uniform()) return max_backward(g.windows(), winners, dy, dx);
    const SpanAxes spans = spans_of(g, dy.device());
    span_max_backward(name_, spans, g.map, {0, spans.positions_out()}, winners, dy, dx);
  }
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
