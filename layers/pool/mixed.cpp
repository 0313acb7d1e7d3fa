// mixed: between the maximum and the mean of a window; the share is fixed, learned, or drawn.
#include <cmath>

#include "core/philox.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Mixed {
  static constexpr PoolText kText{
      "mixed",
      "y = t max x_i + (1-t) mean x_i = m + (1-t) mean(x_i - m); learned: t = sigmoid(a); random: t in {0, 1}, one "
      "draw "
      "a forward in training, 1/2 in evaluation",
      "dx_i = sum over windows dy (t [i is the first of the largest] + (1-t) / |R|); da = sum dy (max - mean) t (1-t)",
      "Yu, Wang, Chen, Wei: Mixed pooling for convolutional neural networks, RSKT 2014; learned: Lee, Gallagher, Tu, "
      "AISTATS 2016"};
  static constexpr Keeps kKeeps = Keeps::winner;
  static constexpr int kState = 1, kNumbers = 1;  // mean - max
  struct Options : Learned {
    double t = 0.5;
    bool random = false;
    void keys(Keys& k) {
      k.number("t", t, "Share of the maximum.").at_least(0).at_most(1);
      k.flag("random", random, "Whether t is drawn.");
      Learned::keys(k);
      k.expect(!(random && learned), "\"random\" and \"learned\" exclude each other");
      k.expect(!random || t == 0.5, "key 't' means nothing with \"random\"");
      k.expect(!learned || (t > 0 && t < 1), "key 't': a learned share starts between 0 and 1, not at them");
    }
  };
  Options options;

  void begin(const PoolMode& mode) {
    if (!options.random || !mode.training) return;
    options.t = random_words(mode.seed, window::kDraws ^ mode.step, 0)[0] >> 31;
  }
  NumberSpecs<1> numbers(int /*rank*/, const std::array<WindowAxis, 3>& /*axes*/) const {
    return {NumberSpec{.name = "a",
                       .value = options.t,
                       .learned = options.learned,
                       .per = options.per,
                       .through = Through::sigmoid,
                       .init = std::log(options.t / (1 - options.t))}};
  }
  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    Pooled<V, kState> p;
    const V m = x.max_and_first(p.winner);
    p.state[0] = x.mean_beyond(m);
    const V t = x.number(0), one = splat<V>(1);
    p.y = t == one ? m : m + (one - t) * p.state[0];
    if (options.t == 0 && !options.learned)  // avg's number to the last bit
      p.y = x.sum([](V v) { return v; }) / splat<V>(static_cast<Lane<V>>(x.real()));
    return p;
  }
  template <class V, class E>
  TP_HD TP_INLINE V backward(V dy, V /*x_i*/, const E& at, const Pooled<V, kState>& p) const {
    const V t = at.window.number(0), rest = (splat<V>(1) - t) / splat<V>(static_cast<Lane<V>>(at.real));
    return dy * (p.winner == splat_int<V>(at.index) ? t + rest : rest);
  }
  template <class V, class W, class Give>
  TP_HD TP_INLINE void backward_numbers(const W& /*x*/, const Pooled<V, kState>& p, Give&& give) const {
    give(0, 0, -p.state[0]);
  }
};

}  // namespace

TP_WINDOW_POOL(mixed, Mixed)

}  // namespace tidepool
