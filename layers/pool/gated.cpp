// gated: between the maximum and the mean of a window, as the window itself says.
#include "core/lane_math.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Gated {
  static constexpr PoolText kText{
      "gated", "g = sigmoid(sum w_i x_i) over the real elements;  y = g max x_i + (1-g) mean x_i",
      "dx_i = sum over windows dy (g [i is the first of the largest] + (1-g) / |R| + (max - mean) g (1-g) w_i); dw_i = "
      "sum dy (max - mean) g (1-g) x_i",
      "Lee, Gallagher, Tu: Generalizing pooling functions in convolutional neural networks, AISTATS 2016"};
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr bool kWinner = true;
  static constexpr int kState = 3, kNumbers = 1;  // g; max - mean; 1 - g, which keeps its digits where g is nearly 1
  struct Options {
    Per per = Per::layer;
    void keys(Keys& k) { k.choice("per", per, {"layer", "channel"}, "What there is one gate's tensor w of."); }
  };
  Options options;

  NumberSpecs<1> numbers(int rank, const std::array<WindowAxis, 3>& axes) const {
    NumberSpec w{.name = "w", .learned = true, .per = options.per, .table_rank = rank};
    for (int i = 0; i < rank; ++i) w.table[static_cast<size_t>(i)] = axes[static_cast<size_t>(3 - rank + i)].k;
    return {w};
  }
  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    Pooled<V, kState> p;
    const V m = x.max_and_first(p.winner), below = x.mean_beyond(m);
    // in f64: large elements of both signs may leave a small sum
    Doubles<V> sum{};
    x.each([&](V v, int32_t index) { sum = sum + x.exact_number(0, index) * widen(v); });
    p.state[0] = sigmoid_lanes(narrow<V>(sum));
    p.state[1] = -below;
    p.state[2] = sigmoid_lanes(-narrow<V>(sum));
    p.y = m + p.state[2] * below;
    return p;
  }
  template <class V, class E>
  TP_HD TP_INLINE V backward(V dy, V /*x_i*/, const E& at, const Pooled<V, kState>& p) const {
    const V g = p.state[0], rest = p.state[2];
    const V share =
        rest / splat<V>(static_cast<Lane<V>>(at.real)) + p.state[1] * g * rest * at.window.number(0, at.index);
    return dy * (p.winner == splat_int<V>(at.index) ? g + share : share);
  }
  template <class V, class W, class Give>
  TP_HD TP_INLINE void backward_numbers(const W& x, const Pooled<V, kState>& p, Give&& give) const {
    const V slope = p.state[1] * p.state[0] * p.state[2];
    x.each([&](V v, int32_t index) { give(0, index, slope * v); });
  }
};

}  // namespace

TP_WINDOW_POOL(gated, Gated)

}  // namespace tidepool
