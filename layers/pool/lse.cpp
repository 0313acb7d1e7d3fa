// lse: the logarithm of a window's mean exponential; between the mean (small b) and the maximum (large b).
#include "core/lane_math.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Lse {
  static constexpr PoolText kText{
      "lse", "y = (1/b) log mean exp(b x_i) = m + (1/b) log mean exp(b (x_i - m)), m = max_j x_j",
      "dx_i = sum over windows dy exp(b (x_i - y)) / |R|; dy/db = (1/b^2) mean(t_i e^t_i - e^t_i + 1), t_i = b (x_i - "
      "y)",
      "Pinheiro & Collobert: From image-level to pixel-level labeling with convolutional networks, CVPR 2015"};
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr int kState = 3, kNumbers = 1;  // m; y - m; 1 / sum exp(b (x_i - m))
  struct Options : Learned {
    double b = 1;
    void keys(Keys& k) {
      k.number("b", b, "Sharpness: a small one gives the mean, a large one the maximum.").above(0).at_most(1e6);
      Learned::keys(k);
    }
  };
  Options options;

  NumberSpecs<1> numbers(int /*rank*/, const std::array<WindowAxis, 3>& /*axes*/) const {
    return {NumberSpec{.name = "b",
                       .value = options.b,
                       .learned = options.learned,
                       .per = options.per,
                       .init = options.b,
                       .above = 0,
                       .kept = 1e-3}};
  }
  static constexpr int kGathered = 2;  // m; sum (exp(b (x_i - m)) - 1)
  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> gather(const W& x) const {
    const Weights<V> weights(x.number(0), x.inverse_number(0));
    Pooled<V, kState> p;
    V sum[1];  // e^t - 1 and log(1 + t) keep the digits of a small b
    p.state[0] = x.totals_below(sum, {0}, [&](V below, V(&part)[1]) {
      part[0] = part[0] + weights.less_one(weights.within(below));  // NaN stays
    });
    p.state[1] = sum[0];
    return p;
  }
  template <class V, class W>
  TP_HD TP_INLINE void finish(const W& x, Pooled<V, kState>& p) const {
    const V n = splat<V>(static_cast<Lane<V>>(x.real())), sum = p.state[1];
    p.state[1] = log1p_lanes(sum / n) * x.inverse_number(0);
    p.state[2] = reciprocal_lanes(n + sum);
    p.y = p.state[0] + p.state[1];
  }
  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    auto p = gather<V>(x);
    finish(x, p);
    return p;
  }
  template <class V, class E>
  TP_HD TP_INLINE V backward(V dy, V x_i, const E& at, const Pooled<V, kState>& p) const {
    const Weights<V> weights(at.window.number(0), at.window.inverse_number(0));
    return dy * weights.beside_less_one(weights.within(x_i - p.state[0])) * p.state[2];
  }
  template <class V, class W, class Give>
  TP_HD TP_INLINE void backward_numbers(const W& x, const Pooled<V, kState>& p, Give&& give) const {
    const V b = x.number(0), n = splat<V>(static_cast<Lane<V>>(x.real()));
    give(0, 0, x.sum([&](V v) { return entropy_lanes(b * ((v - p.state[0]) - p.state[1])); }) / (n * b * b));
  }
};

}  // namespace

TP_WINDOW_POOL(lse, Lse)

}  // namespace tidepool
