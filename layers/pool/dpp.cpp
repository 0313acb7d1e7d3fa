// dpp: detail-preserving pooling; an element weighs the more the further it lies from the window's mean.
#include "core/lane_math.h"
#include "layers/pool/power.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Dpp {
  static constexpr PoolText kText{
      "dpp",
      "w_i = A + rho(x_i - mean)^L, rho(u) = sqrt(u^2 + e^2), asymmetric: sqrt(max(u, 0)^2 + e^2), e = 1e-3; A = "
      "softplus(alpha), L = softplus(lambda);  y = sum w_i x_i / sum w_i",
      "with h_i = L rho_i^(L-1) rho_i': dx_i = sum over windows dy (w_i + (x_i - y) h_i - mean_j((x_j - y) h_j)) / sum "
      "w; "
      "dA = sum dy sum_i (x_i - y) / sum w; dL = sum dy sum_i (x_i - y) rho_i^L log rho_i / sum w",
      "Saeedan, Weber, Goesele, Roth: Detail-preserving pooling in deep networks, CVPR 2018"};
  static constexpr Keeps kKeeps = Keeps::input;
  // With all weights over s^L, s = max(1, max rho): m, the maximum, or in a long window the mean, since rho bends
  // within e of it and many elements lie there; mean - m; y - m; 1 / sum w; mean (x_j - y) h_j / sum w; log s
  static constexpr int kState = 6, kNumbers = 2;
  static constexpr double kEdge = 1e-3;
  struct Options {
    bool asymmetric = false;
    Per per = Per::layer;
    void keys(Keys& k) {
      k.flag("asymmetric", asymmetric, "Only elements over the mean weigh more.");
      k.choice("per", per, {"layer", "channel"}, "What there is one alpha and one lambda of.");
    }
  };
  Options options;

  NumberSpecs<2> numbers(int /*rank*/, const std::array<WindowAxis, 3>& /*axes*/) const {
    return {NumberSpec{.name = "alpha", .learned = true, .per = options.per, .through = Through::softplus},
            NumberSpec{.name = "lambda", .learned = true, .per = options.per, .through = Through::softplus}};
  }

  /// An element's (rho / s)^L, and d log rho / d x.
  template <class V>
  struct Detail {
    V power, log_rho, slope;
  };
  template <class V>
  TP_HD TP_INLINE Detail<V> detail(V above_mean, V exponent, V log_s) const {
    const V none = splat<V>(0), edge = splat<V>(Lane<V>(kEdge * kEdge)), half = splat<V>(Lane<V>(0.5));
    const V u = options.asymmetric ? (above_mean < none ? none : above_mean) : above_mean;
    if constexpr (std::is_same_v<V, double>)
      if (u * u > 1e200)
        return {exp_lanes(exponent * (log_lanes(abs_lanes(u)) - log_s)), log_lanes(abs_lanes(u)), 1 / u};
    const V squared = u * u + edge, log_rho = half * log_lanes(squared);
    return {exp_lanes(exponent * (log_rho - log_s)), log_rho, u / squared};
  }
  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    const V a = x.number(0), exponent = x.number(1), none = splat<V>(0), one = splat<V>(1);
    Pooled<V, kState> p;
    V m, mean;
    if (x.real() > kSumRun) {
      Doubles<V> sum{};
      x.each([&](V v, int32_t) { sum = sum + widen(v); });
      sum = sum / static_cast<double>(x.real());
      m = narrow<V>(sum);
      mean = narrow<V>(sum - widen(m));
    } else {
      m = x.max();
      mean = x.mean_beyond(m);
    }
    p.state[0] = m;
    p.state[1] = mean;
    V log_s = none;
    x.each([&](V v, int32_t) {
      const V log_rho = detail((v - m) - mean, none, none).log_rho;
      log_s = log_rho > log_s ? log_rho : log_s;
    });
    const V least = a * exp_lanes(-exponent * log_s);
    V sums[2];
    x.totals(sums, [&](V v, int32_t, V(&part)[2]) {
      const V u = (v - m) - mean, w = least + detail(u, exponent, log_s).power;
      part[0] = part[0] + w;
      part[1] = part[1] + w * u;
    });
    p.state[3] = one / sums[0];
    p.state[2] = mean + sums[1] * p.state[3];
    p.state[4] = none;  // prepare_backward
    p.state[5] = log_s;
    p.y = m + p.state[2];
    return p;
  }
  template <class V, class W>
  TP_HD TP_INLINE void prepare_backward(const W& x, Pooled<V, kState>& p) const {
    const V exponent = x.number(1);
    const V sum = x.sum([&](V v) {
      const V v_m = v - p.state[0];
      const Detail<V> e = detail(v_m - p.state[1], exponent, p.state[5]);
      return (v_m - p.state[2]) * exponent * e.power * e.slope;
    });
    p.state[4] = sum * p.state[3] / splat<V>(static_cast<Lane<V>>(x.real()));
  }
  template <class V, class E>
  TP_HD TP_INLINE V backward(V dy, V x_i, const E& at, const Pooled<V, kState>& p) const {
    const V exponent = at.window.number(1), u = (x_i - p.state[0]) - p.state[1];
    const V least = at.window.number(0) * exp_lanes(-exponent * p.state[5]);
    const Detail<V> e = detail(u, exponent, p.state[5]);
    const V beyond = (x_i - p.state[0]) - p.state[2];  // x_i - y
    return dy * ((least + e.power + beyond * exponent * e.power * e.slope) * p.state[3] - p.state[4]);
  }
  template <class V, class W, class Give>
  TP_HD TP_INLINE void backward_numbers(const W& x, const Pooled<V, kState>& p, Give&& give) const {
    // The weighted sum of all x_i - y is 0, so log rho may count from its largest: the element that outweighs the
    // others then takes the rounding of its x_i - y nowhere.
    const V exponent = x.number(1), log_s = p.state[5], shrink = exp_lanes(-exponent * log_s);
    V sums[2];
    x.totals(sums, [&](V v, int32_t, V(&part)[2]) {
      const V v_m = v - p.state[0], beyond = v_m - p.state[2];
      const Detail<V> e = detail(v_m - p.state[1], exponent, log_s);
      part[0] = part[0] + beyond;
      part[1] = part[1] + beyond * e.power * (e.log_rho - log_s);
    });
    give(0, 0, sums[0] * p.state[3] * shrink);
    give(1, 0, (sums[1] - log_s * x.number(0) * shrink * sums[0]) * p.state[3]);
  }
};

}  // namespace

TP_WINDOW_POOL(dpp, Dpp)

}  // namespace tidepool
