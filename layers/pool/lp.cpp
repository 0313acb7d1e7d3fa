// lp: the p-norm of a window.
#include "core/lane_math.h"
#include "layers/pool/power.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Lp {
  static constexpr PoolText kText{
      "lp", "y = (sum abs(x_i)^p)^(1/p) = M (sum (abs(x_i) / M)^p)^(1/p), M = max abs(x_i)",
      "dx_i = sum over windows dy sign(x_i) (abs(x_i) / y)^(p-1), 0 where y = 0; dy/dp = (y / p^2) sum w_i log w_i, "
      "w_i = (abs(x_i) / y)^p",
      "Sermanet, Chintala, LeCun: Convolutional neural networks applied to house numbers digit classification, ICPR "
      "2012",
      "torch.nn.LPPool2d takes x^p with its sign and multiplies a window that hangs over by its missing elements; here "
      "abs(x), and the elements that are there. The two agree for even p, or x >= 0, without ceil_mode."};
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr int kState = 2, kNumbers = 1;  // a scale s of the window; p = 2: 1 / (s y), else log (s y)
  struct Options : Learned {
    double p = 2;
    void keys(Keys& k) {
      k.number("p", p, "Exponent: 1 gives the sum of magnitudes, a large one the largest.").at_least(1).at_most(1e4);
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
                       .at_least = 1,
                       .kept = 1}};
  }
  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    V largest = splat<V>(0);
    x.each([&](V v, int32_t) { largest = larger_magnitude(largest, v); });
    Pooled<V, kState> p;
    if (squares()) {
      const auto scale = BinaryScale<V>::of(largest);
      const V sum = x.sum([&](V v) { return (v * scale.down) * (v * scale.down); });
      p.state[0] = scale.down;
      p.state[1] = sum > splat<V>(0) ? rsqrt_lanes(sum) : splat<V>(0);
      p.y = scale.up * (sum * p.state[1]);
    } else {
      const V scale = p.state[0] = scale_of(largest);
      const V exponent = x.number(0);
      const V sum = x.sum([&](V v) { return exp_lanes(exponent * log_lanes(abs_lanes(v) * scale)); });
      p.state[1] = log_lanes(sum) / exponent;
      p.y = largest * exp_lanes(p.state[1]);
    }
    return p;
  }
  template <class V, class E>
  TP_HD TP_INLINE V backward(V dy, V x_i, const E& at, const Pooled<V, kState>& p) const {
    const V r = x_i * p.state[0], none = splat<V>(0);
    if (squares()) return dy * r * p.state[1];
    const V size = abs_lanes(r);
    const V slope = exp_lanes((at.window.number(0) - splat<V>(1)) * (log_lanes(size) - p.state[1]));
    return size == none ? none : dy * sign_lanes(x_i) * slope;  // NaN stays
  }
  template <class V, class W, class Give>
  TP_HD TP_INLINE void backward_numbers(const W& x, const Pooled<V, kState>& p, Give&& give) const {
    const V exponent = x.number(0), none = splat<V>(0);
    const V sum = x.sum([&](V v) {
      const V size = abs_lanes(v) * p.state[0], t = exponent * (log_lanes(size) - p.state[1]);
      return size == none ? none : t * exp_lanes(t);
    });
    give(0, 0, p.y * sum / (exponent * exponent));
  }

 private:
  TP_HD bool squares() const { return options.p == 2 && !options.learned; }
};

}  // namespace

TP_WINDOW_POOL(lp, Lp)

}  // namespace tidepool
