// gem: the generalised mean of a window, with an exponent that may be learned.
#include "core/lane_math.h"
#include "layers/pool/power.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Gem {
  static constexpr PoolText kText{
      "gem", "c_i = max(x_i, eps), M = max c_i;  y = (mean c_i^p)^(1/p) = M (mean (c_i / M)^p)^(1/p)",
      "dx_i = sum over windows dy (c_i / y)^(p-1) / |R| where x_i >= eps, else 0; dy/dp = (y / p^2) mean(t_i e^t_i - "
      "e^t_i + 1), t_i = p log(c_i / y)",
      "Radenovic, Tolias, Chum: Fine-tuning CNN image retrieval with no human annotation, TPAMI 2019"};
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr int kState = 2, kNumbers = 1;  // 1 / M; log (y / M)
  struct Options : Learned {
    double p = 3, eps = 1e-6;
    void keys(Keys& k) {
      k.number("p", p, "Exponent: 1 gives the mean, a large one the maximum.").above(0).at_most(1e4);
      k.number("eps", eps, "Smaller elements count as this.").at_least(1e-30).at_most(1e30);
      Learned::keys(k);
    }
  };
  Options options;

  NumberSpecs<1> numbers(int /*rank*/, const std::array<WindowAxis, 3>& /*axes*/) const {
    return {NumberSpec{.name = "p",
                       .value = options.p,
                       .learned = options.learned,
                       .per = options.per,
                       .init = options.p,
                       .above = 0,
                       .kept = 1e-3}};
  }
  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    V largest = clamped(x.max());
    Pooled<V, kState> p;
    p.state[0] = splat<V>(1) / largest;
    p.state[1] = log_power_mean(x, x.number(0), [&](V v) { return clamped(v) * p.state[0]; });
    p.y = largest * exp_lanes(p.state[1]);
    return p;
  }
  template <class V, class E>
  TP_HD TP_INLINE V backward(V dy, V x_i, const E& at, const Pooled<V, kState>& p) const {
    const V t = log_lanes(clamped(x_i) * p.state[0]) - p.state[1];
    const V slope = exp_lanes((at.window.number(0) - splat<V>(1)) * t) / splat<V>(static_cast<Lane<V>>(at.real));
    return x_i < eps<V>() ? splat<V>(0) : dy * slope;
  }
  template <class V, class W, class Give>
  TP_HD TP_INLINE void backward_numbers(const W& x, const Pooled<V, kState>& p, Give&& give) const {
    const V exponent = x.number(0);
    const V entropy = power_entropy(x, exponent, p.state[1], [&](V v) { return clamped(v) * p.state[0]; });
    give(0, 0, p.y * entropy / (exponent * exponent));
  }

 private:
  template <class V>
  TP_HD TP_INLINE V eps() const {
    return splat<V>(static_cast<Lane<V>>(options.eps));
  }
  template <class V>
  TP_HD TP_INLINE V clamped(V v) const {
    return v < eps<V>() ? eps<V>() : v;  // NaN stays
  }
};

}  // namespace

TP_WINDOW_POOL(gem, Gem)

}  // namespace tidepool
