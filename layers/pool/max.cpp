// max: the largest element of a window.
#include "layers/pool/max.h"

#include "layers/pool/window.h"

namespace tidepool {
namespace {

struct Max {
  static constexpr PoolText kText{"max", "y = max x_i", "dx_i = dy at the first of the largest elements, else 0",
                                  "Riesenhuber & Poggio (1999), Nature Neuroscience 2"};
  static constexpr Keeps kKeeps = Keeps::winner;
  static constexpr int kState = 0;
  static constexpr bool kFirstOfLargest = true;
  struct Options {
    void keys(Keys& /*k*/) {}
  };
  Options options;

  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    Pooled<V, kState> p;
    p.y = x.max_and_first(p.winner);
    return p;
  }
  template <class V>
  TP_HD TP_INLINE V backward(V dy, V /*x_i*/, const WindowPosition& at, const Pooled<V, kState>& p) const {
    return p.winner == splat_int<V>(at.index) ? dy : splat<V>(0);
  }
};

}  // namespace

TP_WINDOW_POOL(max, Max)

inline namespace TP_COMPILED_FOR {

void max_forward(const WindowGeometry& g, const Tensor& x, const Tensor& y, const Tensor& winners,
                 const window::Unwritten& norm) {
  window::reduce(Max{}, {}, g, x, y, winners, {}, norm);
}
void max_backward(const WindowGeometry& g, const Tensor& winners, const Tensor& dy, const Tensor& dx, const Tensor& x,
                  const window::Unwritten& norm) {
  window::backward(Max{}, {}, g, x, winners, dy, dx, norm);
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
