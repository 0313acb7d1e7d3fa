// avg: the mean of a window.
#include "layers/pool/avg.h"

#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Avg {
  static constexpr PoolText kText{
      "avg", "y = (1/n) sum x_i; n counts the padding too (count_include_pad), a ceil_mode overhang never",
      "dx_i = sum over windows dy / n", "LeCun et al. (1990), NIPS 2"};
  static constexpr Keeps kKeeps = Keeps::nothing;
  static constexpr int kState = 0;
  struct Options {
    bool count_include_pad = true;
    void keys(Keys& k) { k.flag("count_include_pad", count_include_pad, "Count absent positions in the divisor."); }
  };
  Options options;

  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    Pooled<V, kState> p;
    p.y = x.sum([](V v) { return v; }) / splat<V>(count<V>(x.real(), x.counted()));
    return p;
  }
  template <class V>
  TP_HD TP_INLINE V backward(V dy, V /*x_i*/, const WindowPosition& at, const Pooled<V, kState>& /*p*/) const {
    return dy / splat<V>(count<V>(at.real, at.counted));
  }

 private:
  template <class V>
  TP_HD TP_INLINE Lane<V> count(int32_t real, int32_t counted) const {
    return static_cast<Lane<V>>(options.count_include_pad ? counted : real);
  }
};

}  // namespace

TP_WINDOW_POOL(avg, Avg)

inline namespace TP_COMPILED_FOR {

void avg_forward(const WindowGeometry& g, const Tensor& x, const Tensor& y) {
  window::reduce(Avg{}, {}, g, x, y, {}, {});
}
void avg_backward(const WindowGeometry& g, const Tensor& dy, const Tensor& dx) {
  window::backward(Avg{}, {}, g, {}, {}, dy, dx);
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
