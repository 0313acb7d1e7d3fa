// em: the exponential maximum of AdaPool, which is soft at beta = 1.
#include "layers/pool/exponential.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Em {
  static constexpr PoolText kText{
      "em", "w_i = exp(x_i - m) / sum_j exp(x_j - m), m = max_j x_j;  y = m + sum_i w_i (x_i - m)",
      "dx_i = sum over windows dy w_i (1 + x_i - y)",
      "Stergiou & Poppe: AdaPool, Exponential adaptive pooling for information-retaining downsampling, 2021 (arXiv "
      "2111.00772)"};
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr int kState = SoftMean<float>::kState;
  struct Options {
    void keys(Keys& /*k*/) {}
  };
  Options options;

  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    return pooled_soft<V>(x, 1);
  }
  template <class V>
  TP_HD TP_INLINE V backward(V dy, V x_i, const WindowPosition& /*at*/, const Pooled<V, kState>& p) const {
    return dy * SoftMean<V>::get(p.state).slope(x_i, 1, false);
  }
};

}  // namespace

TP_WINDOW_POOL(em, Em)

}  // namespace tidepool
