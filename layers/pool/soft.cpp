// soft: the mean of a window, weighted by exp(beta x).
#include "layers/pool/exponential.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Soft {
  static constexpr PoolText kText{
      "soft", "w_i = exp(beta (x_i - m)) / sum_j exp(beta (x_j - m)), m = max_j x_j;  y = m + sum_i w_i (x_i - m)",
      "dx_i = sum over windows dy w_i (1 + beta (x_i - y)); \"frozen_weights\" (the published code): dy w_i",
      "Stergiou, Poppe, Kalliatakis: Refining activation downsampling with SoftPool, ICCV 2021",
      "The published CUDA code keeps only dy w_i of the gradient (here \"frozen_weights\"); it subtracts no maximum, "
      "so "
      "that x = 89 in f32 already gives NaN or 0; it turns NaN into 0; it has no padding, and reads past the map's "
      "edge "
      "where the last window hangs over it. Its CPU path sums exp(x) over the channels instead of the window's "
      "elements, "
      "and clamps the result to >= 0. None of that is kept."};
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr int kState = SoftMean<float>::kState;
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
    return pooled_soft<V>(x, beta<V>());
  }
  template <class V>
  TP_HD TP_INLINE V backward(V dy, V x_i, const WindowPosition& /*at*/, const Pooled<V, kState>& p) const {
    return dy * SoftMean<V>::get(p.state).slope(x_i, beta<V>(), options.grad == Grad::frozen_weights);
  }

 private:
  template <class V>
  TP_HD TP_INLINE Lane<V> beta() const {
    return static_cast<Lane<V>>(options.beta);
  }
};

}  // namespace

TP_WINDOW_POOL(soft, Soft)

}  // namespace tidepool
