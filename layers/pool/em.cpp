// em: the exponential maximum of AdaPool, which is soft at beta = 1.
#include "layers/pool/exponential.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Em : SoftWindow {
  static constexpr PoolText kText{
      "em", "w_i = exp(x_i - m) / sum_j exp(x_j - m), m = max_j x_j;  y = m + sum_i w_i (x_i - m)",
      "dx_i = sum over windows dy w_i (1 + x_i - y)",
      "Stergiou & Poppe: AdaPool, Exponential adaptive pooling for information-retaining downsampling, 2021 (arXiv "
      "2111.00772)"};
  struct Options {
    void keys(Keys& /*k*/) {}
  };
  explicit Em(const Options& /*options*/ = {}) {}
};

}  // namespace

TP_WINDOW_POOL(em, Em)

}  // namespace tidepool
