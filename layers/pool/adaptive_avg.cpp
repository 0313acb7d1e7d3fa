// adaptive_avg and global_avg: the mean of each cell of a grid of fixed size; cells overlap where the lengths do not
// divide.
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
  explicit AdaptiveAvg(const AdaptiveOptions& options) : AdaptivePool(kText, options) {}

 private:
  Tensor reduce(const Grid& g, const Tensor& x, const Tensor& y, bool /*recorded*/) const override {
    if (g.uniform())
      avg_forward(g.windows(), x, y);
    else
      apply_bands(name_, means(g), g.map, x, y);
    return {};
  }
  void spread(const Grid& g, const Tensor& /*kept*/, const Tensor& dy, const Tensor& dx) const override {
    if (g.uniform())
      avg_backward(g.windows(), dy, dx);
    else
      apply_bands(name_, transposed(means(g)), g.map, dy, dx);
  }
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
