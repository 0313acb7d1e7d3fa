// ordinal: the sorted elements of a window, weighted by their rank.
#include "core/lane_math.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Ordinal {
  static constexpr PoolText kText{
      "ordinal",
      "y = sum_j w_j x_(j), x_(1) >= x_(2) >= ..., equals in window order; w = softmax of the first |R| of logits",
      "dx_i = sum over windows dy w_rank(i); d logits_j = sum dy w_j (x_(j) - y)",
      "Kumar: Ordinal pooling networks, for preserving information over shrinking feature maps, 2018 (arXiv "
      "1804.02702)"};
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr bool kRanks = true;
  static constexpr int kState = 2, kNumbers = 1;  // m; y - m
  struct Options {
    Per per = Per::layer;
    void keys(Keys& k) { k.choice("per", per, {"layer", "channel"}, "What there is one list of logits of."); }
  };
  Options options;

  NumberSpecs<1> numbers(int /*rank*/, const std::array<WindowAxis, 3>& axes) const {
    const int64_t positions = int64_t{axes[0].k} * axes[1].k * axes[2].k;
    return {NumberSpec{.name = "logits",
                       .learned = true,
                       .per = options.per,
                       .through = Through::log_softmax,
                       .table_rank = 1,
                       .table = {positions, 1, 1}}};
  }
  /// The weight of the element of rank j. Behind the logits stand the logarithms of their running sums, then the
  /// weights of a window without absent elements.
  template <class V, class W>
  TP_HD TP_INLINE V weight(const W& x, int32_t j) const {
    if (x.real() == x.volume()) return x.number(0, 2 * x.volume() + j);
    return exp_lanes(narrow<V>(x.exact_number(0, j) - x.exact_number(0, x.volume() + x.real() - 1)));
  }
  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    const V m = x.max();
    V sum[1];
    x.totals(sum,
             [&](V v, int32_t index, V(&part)[1]) { part[0] = part[0] + weight_at<V>(x, x.rank(v, index)) * (v - m); });
    Pooled<V, kState> p;
    p.state[0] = m;
    p.state[1] = sum[0];
    p.y = m + sum[0];
    return p;
  }
  template <class V, class E>
  TP_HD TP_INLINE V backward(V dy, V x_i, const E& at, const Pooled<V, kState>& /*p*/) const {
    return dy * weight_at<V>(at.window, at.window.rank(x_i, at.index));
  }
  template <class V, class W, class Give>
  TP_HD TP_INLINE void backward_numbers(const W& x, const Pooled<V, kState>& p, Give&& give) const {
    x.each([&](V v, int32_t index) {
      const Ints<V> rank = x.rank(v, index);
      give(0, rank, weight_at<V>(x, rank) * ((v - p.state[0]) - p.state[1]));
    });
  }

 private:
  /// The weights of elements whose ranks differ from lane to lane.
  template <class V, class W>
  TP_HD TP_INLINE V weight_at(const W& x, Ints<V> rank) const {
    constexpr int32_t kFew = 16;
    if (kLanes<V> == 1 || x.real() > kFew) {
      if (x.real() == x.volume()) return x.number_at(0, rank + splat_int<V>(2 * x.volume()));
      return exp_lanes(narrow<V>(x.exact_number_at(0, rank) - x.exact_number(0, x.volume() + x.real() - 1)));
    }
    V w = splat<V>(0);
    for (int32_t j = 0; j < x.real(); ++j) {
      const V one = weight<V>(x, j);
      w = rank == splat_int<V>(j) ? one : w;
    }
    return w;
  }
};

}  // namespace

TP_WINDOW_POOL(ordinal, Ordinal)

}  // namespace tidepool
