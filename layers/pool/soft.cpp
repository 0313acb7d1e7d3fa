// soft: the mean of a window, weighted by exp(beta x).
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Soft {
  static constexpr PoolText kText{
      "soft", "w_i = exp(beta (x_i - m)) / sum_j exp(beta (x_j - m)), m = max_j x_j;  y = m + sum_i w_i (x_i - m)",
      "dx_i = sum over windows dy w_i (1 + beta (x_i - y)); \"frozen_weights\" (the published code): dy w_i",
      "Stergiou, Poppe, Kalliatakis: Refining activation downsampling with SoftPool, ICCV 2021"};
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr int kState = 3;  // m; 1 / sum exp; y - m
  enum class Grad : uint8_t { full, frozen_weights };
  struct Options {
    double beta = 1;
    Grad grad = Grad::full;
    void keys(Keys& k) {
      k.number("beta", beta, "Temperature: 0 gives the mean, a large one the maximum.").at_least(0).at_most(1e6);
      k.choice("grad", grad, {"full", "frozen_weights"}, "Whether the gradient goes through the weights.");
    }
  };
  Options options;

  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    const V beta = splat<V>(static_cast<Lane<V>>(options.beta)), none = splat<V>(0);
    const V m = x.max();
    V weights = none, weighted = none;
    x.each([&](V v, int32_t) {
      const V u = v - m, w = exp_lanes(beta * u);
      weights = weights + w;
      weighted = weighted + (w > none ? w * u : none);  // u may be -inf where w is 0
    });
    Pooled<V, kState> p;
    p.state[0] = m;
    p.state[1] = splat<V>(1) / weights;
    p.state[2] = weighted * p.state[1];
    p.y = m + p.state[2];
    return p;
  }
  template <class V>
  TP_HD TP_INLINE V pull(V dy, V x_i, const WindowPlace& /*at*/, const Pooled<V, kState>& p) const {
    const V beta = splat<V>(static_cast<Lane<V>>(options.beta)), none = splat<V>(0);
    const V u = x_i - p.state[0], e = exp_lanes(beta * u), w = e * p.state[1];
    if (options.grad == Grad::frozen_weights) return dy * w;
    return e > none ? dy * w * (splat<V>(1) + beta * (u - p.state[2])) : none;
  }
};

}  // namespace

TP_WINDOW_POOL(soft, Soft)

}  // namespace tidepool
