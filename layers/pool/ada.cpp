// ada: AdaPool, a learned mixture of edscw and em.
#include "layers/pool/exponential.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Ada {
  static constexpr PoolText kText{"ada", "y = b edscw(x) + (1-b) em(x), b = sigmoid(logit)",
                                  "dx = b d edscw + (1-b) d em; d logit = sum dy (edscw - em) b (1-b)",
                                  "Stergiou & Poppe: AdaPool, Exponential adaptive pooling for information-retaining "
                                  "downsampling, 2021 (arXiv 2111.00772)",
                                  "The published code gives NaN in a window of zeros (0/0, see edscw), and clamps its "
                                  "mixing weights in a way that has "
                                  "no effect; here b is a sigmoid, and zeros give zero."};
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr int kSoft = SoftMean<float>::kState, kState = kSoft + SimilarityMean<float>::kState, kNumbers = 1;
  struct Options {
    Per per = Per::layer;
    void keys(Keys& k) {
      k.choice("per", per, {"layer", "channel", "place"}, "What there is one b of: position is one of the output.");
    }
  };
  Options options;

  NumberSpecs<1> numbers(int /*rank*/, const std::array<WindowAxis, 3>& /*axes*/) const {
    return {NumberSpec{.name = "logit", .learned = true, .per = options.per, .through = Through::sigmoid}};
  }
  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    const V b = x.number(0);
    const auto em = SoftMean<V>::of(x, 1);
    const auto edscw = SimilarityMean<V>::of(x, em.m);
    Pooled<V, kState> p;
    p.y = em.m + (b * edscw.offset + (splat<V>(1) - b) * em.offset);
    em.put(p.state);
    edscw.put(p.state + kSoft);
    return p;
  }
  template <class V, class W>
  TP_HD TP_INLINE void prepare_backward(const W& x, Pooled<V, kState>& p) const {
    auto s = SimilarityMean<V>::get(p.state + kSoft);
    s.prepare_slope(x);
    s.put(p.state + kSoft);
  }
  template <class V, class E>
  TP_HD TP_INLINE V backward(V dy, V x_i, const E& at, const Pooled<V, kState>& p) const {
    const V b = at.window.number(0), em = SoftMean<V>::get(p.state).slope(x_i, 1, false);
    return dy * (b * SimilarityMean<V>::get(p.state + kSoft).slope(x_i) + (splat<V>(1) - b) * em);
  }
  template <class V, class W, class Give>
  TP_HD TP_INLINE void backward_numbers(const W& /*x*/, const Pooled<V, kState>& p, Give&& give) const {
    give(0, 0, SimilarityMean<V>::get(p.state + kSoft).offset - SoftMean<V>::get(p.state).offset);
  }
};

}  // namespace

TP_WINDOW_POOL(ada, Ada)

}  // namespace tidepool
