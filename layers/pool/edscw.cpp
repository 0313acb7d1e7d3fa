// edscw: the mean of a window, weighted by the exponential of each element's similarity to the mean.
#include "layers/pool/exponential.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Edscw {
  static constexpr PoolText kText{
      "edscw",
      "D_i = 2 abs(x_i a) / (x_i^2 + a^2), a the window's mean, D(0, 0) = 1; w_i = exp(D_i) / sum_j exp(D_j);  y = sum "
      "w_i x_i",
      "dx_i = sum over windows dy (w_i (1 + (x_i - y) dD_i/dx_i) + (1/|R|) sum_j w_j (x_j - y) dD_j/da)",
      "Stergiou & Poppe: AdaPool, Exponential adaptive pooling for information-retaining downsampling, 2021 (arXiv "
      "2111.00772)",
      "The published code divides 0 by 0 in a window of zeros, and gives NaN; here two equal things have similarity "
      "1."};
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr int kState = SimilarityMean<float>::kState;
  struct Options {
    void keys(Keys& /*k*/) {}
  };
  Options options;

  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    const auto s = SimilarityMean<V>::of(x, x.max());
    Pooled<V, kState> p;
    p.y = s.m + s.offset;
    s.put(p.state);
    return p;
  }
  template <class V, class W>
  TP_HD TP_INLINE void prepare_backward(const W& x, Pooled<V, kState>& p) const {
    auto s = SimilarityMean<V>::get(p.state);
    s.prepare_slope(x);
    s.put(p.state);
  }
  template <class V>
  TP_HD TP_INLINE V backward(V dy, V x_i, const WindowPosition& /*at*/, const Pooled<V, kState>& p) const {
    return dy * SimilarityMean<V>::get(p.state).slope(x_i);
  }
};

}  // namespace

TP_WINDOW_POOL(edscw, Edscw)

}  // namespace tidepool
