// quantile: a quantile of a window, linear between its order statistics; the median by default.
#include <cmath>

#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Quantile {
  // What `tidepool ops quantile` prints: name, formula, gradient, source.
  static constexpr PoolText kText{
      "quantile",
      "h = q (|R| - 1), j = floor(h), f = h - j;  y = x_(j) + f (x_(j+1) - x_(j)), x_(0) <= x_(1) <= ...; learned: q = "
      "sigmoid(a)",
      "dx: sum over windows dy (1 - f) to x_(j), dy f to x_(j+1), equals ordered as in ordinal; dy/dq = (|R| - 1) "
      "(x_(j+1) - x_(j)), or where f = 0 (|R| - 1) (x_(j+1) - x_(j-1)) / 2, a missing neighbour being x_(j)",
      "Hyndman & Fan (1996), The American Statistician 50, definition 7"};
  static constexpr Keeps kKeeps = Keeps::input;  // the backward sees x again
  static constexpr int kState = 0;               // and needs nothing else of a window's forward
  static constexpr bool kRanks = true;           // asks windows for ranks
  static constexpr int kNumbers = 1;             // q can be learned

  // Keys beside those of every window; the list below parses them, checks them and documents them.
  struct Options : Learned {
    double q = 0.5;
    void keys(Keys& k) {
      k.number("q", q, "0 gives the minimum, 1/2 the median, 1 the maximum.").at_least(0).at_most(1);
      Learned::keys(k);
      k.expect(!learned || (q > 0 && q < 1), "key 'q': a learned quantile starts between 0 and 1, not at them");
    }
  };
  Options options;

  NumberSpecs<1> numbers(int /*rank*/, const std::array<WindowAxis, 3>& /*axes*/) const {
    return {NumberSpec{.name = "a",
                       .value = options.q,
                       .learned = options.learned,
                       .per = options.per,
                       .through = Through::sigmoid,
                       .init = std::log(options.q / (1 - options.q))}};
  }

  // h - j, and 0 for a whole h also where a compiler makes q (n - 1) - j one multiply-add.
  TP_HD TP_INLINE static double fraction(double h, int32_t j) { return h == j ? 0 : h - j; }

  // Where h lies. Ranks count from the largest element, as Window::rank does: x_(j+1) has the rank before x_(j)'s.
  template <class V>
  struct Between {
    Ints<V> rank;  ///< of x_(j)
    V f;
  };
  template <class V, class W>
  TP_HD TP_INLINE Between<V> between(const W& x) const {
    const int32_t last = x.real() - 1;
    const Doubles<V> h = x.exact_number(0) * static_cast<double>(last);  // f64 decides whether h is whole
    Between<V> b;
    if constexpr (kLanes<V> == 1) {
      const auto j = static_cast<int32_t>(h);
      b.rank = last - j;
      b.f = static_cast<V>(fraction(h, j));
    } else {
#if !defined(TP_DEVICE_PASS)
      for (int l = 0; l < kLanes<V>; ++l) {
        const auto j = static_cast<int32_t>(h[l]);
        b.rank[l] = last - j;
        b.f[l] = static_cast<Lane<V>>(fraction(h[l], j));
      }
#endif
    }
    return b;
  }
  /// The element of a rank, `otherwise` where there is none.
  template <class V, class W>
  TP_HD TP_INLINE V element(const W& x, Ints<V> rank, V otherwise) const {
    x.each([&](V v, int32_t index) { otherwise = x.rank(v, index) == rank ? v : otherwise; });
    return otherwise;
  }

  // What a window gives. V is one window, or a vector of them.
  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    const Between<V> b = between<V>(x);
    const V m = x.max(), low = element(x, b.rank, m), high = element(x, b.rank - 1, low);
    const V y = b.f == splat<V>(0) ? low : low + b.f * (high - low);
    Pooled<V, kState> p;
    p.y = m != m ? m : y;  // NaN has no rank
    return p;
  }
  // What one element gets back of dy.
  template <class V, class E>
  TP_HD TP_INLINE V backward(V dy, V x_i, const E& at, const Pooled<V, kState>& /*p*/) const {
    const Between<V> b = between<V>(at.window);
    const Ints<V> rank = at.window.rank(x_i, at.index);
    const V none = splat<V>(0), above = rank == b.rank - 1 ? dy * b.f : none;
    return rank == b.rank ? dy * (splat<V>(1) - b.f) : above;
  }
  // d y / d q; the sum over windows, sigmoid's slope and the tensor are window.h's.
  template <class V, class W, class Give>
  TP_HD TP_INLINE void backward_numbers(const W& x, const Pooled<V, kState>& /*p*/, Give&& give) const {
    const Between<V> b = between<V>(x);
    const V none = splat<V>(0), half = splat<V>(Lane<V>(0.5)), last = splat<V>(static_cast<Lane<V>>(x.real() - 1));
    const V at = element(x, b.rank, none), above = element(x, b.rank - 1, at), below = element(x, b.rank + 1, at);
    const V central = (above - below) * half, right = above - at;
    give(0, 0, last * (b.f == none ? central : right));
  }
};

}  // namespace

TP_WINDOW_POOL(quantile, Quantile)

}  // namespace tidepool
