// stochastic: one element of a window, drawn; in evaluation its expectation.
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Stochastic {
  static constexpr PoolText kText{
      "stochastic",
      "p_i = max(x_i, 0) / sum_j max(x_j, 0); training: y = x_i with probability p_i; evaluation: y = sum p_i x_i; a "
      "window with no positive element gives its mean in both",
      "training: dy to the drawn element; evaluation: dx_i = sum over windows dy (2 x_i - y) / sum_j max(x_j, 0) where "
      "x_i > 0, else 0; dy / |R| where the window gives its mean",
      "Zeiler & Fergus: Stochastic pooling for regularization of deep convolutional neural networks, ICLR 2013"};
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr bool kWinner = true, kDraws = true;
  static constexpr int kState = 3;  // with r_i = max(x_i, 0) / max_j x_j: 1 / max; y / max; 1 / sum r_i, 0: the mean
  struct Options {
    bool training = false;
    uint64_t seed = 0, step = 0;
    void keys(Keys& /*k*/) {}
  };
  Options options;

  void begin(const PoolMode& mode) {
    options.training = mode.training;
    options.seed = mode.seed;
    options.step = mode.step;
  }
  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    const V none = splat<V>(0), one = splat<V>(1), m = x.max();
    const auto positive = m > none;
    const V scale = positive ? one / m : none;
    const V all = x.sum([&](V v) { return v > none ? v * scale : none; });
    Pooled<V, kState> p;
    p.winner = splat_int<V>(x.first_index());
    p.state[0] = scale;
    p.state[1] = none;
    p.state[2] = positive ? one / all : none;
    const V mean = m + x.mean_beyond(m);
    if (options.training) {
      const V drawn = draw(x, x.uniform(options.seed, options.step) * all, scale, p.winner);
      p.y = positive ? drawn + (scale - scale) : mean;  // NaN where the scale is infinite
    } else {
      const V weighted = x.sum([&](V v) { return v > none ? v * scale * (v - m) : none; });
      const V chosen = positive ? weighted / all : none;  // sum p_i (x_i - m)
      p.state[1] = one + chosen * scale;
      p.y = positive ? m + chosen : mean;
    }
    return p;
  }
  /// The first element at which the running sum passes the target: the last positive one before which it has not.
  template <class V, class W>
  TP_HD TP_INLINE V draw(const W& x, V target, V scale, Ints<V>& winner) const {
    LongSum<V> before;
    V drawn = splat<V>(0);
    x.each([&](V v, int32_t index) {
      const V share = v > splat<V>(0) ? v * scale : splat<V>(0);
      winner = (before.total() <= target) & (v > splat<V>(0)) ? splat_int<V>(index) : winner;
      before.add(share);
    });
    x.each([&](V v, int32_t index) { drawn = winner == splat_int<V>(index) ? v : drawn; });
    return drawn;
  }
  template <class V, class E>
  TP_HD TP_INLINE V backward(V dy, V x_i, const E& at, const Pooled<V, kState>& p) const {
    const V none = splat<V>(0), mean = dy / splat<V>(static_cast<Lane<V>>(at.real));
    const auto only_mean = p.state[2] == none;
    const V r = x_i * p.state[0];
    V one = options.training ? splat<V>(1) : (r + r - p.state[1]) * p.state[2];
    if (options.training)
      one = p.winner == splat_int<V>(at.index) ? one : none;
    else
      one = x_i > none ? one : none;
    return only_mean ? mean : dy * one + (p.state[2] - p.state[2]);  // NaN stays
  }
};

}  // namespace

TP_WINDOW_POOL(stochastic, Stochastic)

}  // namespace tidepool
