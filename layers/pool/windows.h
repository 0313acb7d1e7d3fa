// The windowed operators that other operators are made of: what a window gives, what an element of it gets back.
#pragma once
#include "layers/pool/window.h"

namespace tidepool {
namespace {  // kernels of a source file's own: CUDA's and the CPU's compiler make them apart

/// y = max x_i; the gradient goes to the winner, the first of equals. NaN wins.
struct MaxWindow {
  static constexpr PoolText kText{"max", "y = max x_i", "dy to the first of the largest elements",
                                  "LeCun et al. (1998)"};
  static constexpr Keeps kKeeps = Keeps::winner;
  static constexpr int kState = 0;
  struct Options {
    void keys(Keys& /*k*/) {}
  };
  Options options;

  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    V best = splat<V>(-INFINITY);
    Ints<V> winner = splat_int<V>(x.first_index());
    x.each([&](V v, int32_t index) {
      const auto wins = (v > best) | (v != v);
      best = wins ? v : best;
      winner = wins ? splat_int<V>(index) : winner;
    });
    return {best, {}, winner};
  }
  template <class V>
  TP_HD TP_INLINE V pull(V dy, V /*x_i*/, const WindowPlace& at, const Pooled<V, kState>& p) const {
    return p.winner == splat_int<V>(at.index) ? dy : splat<V>(0);
  }
};

}  // namespace
}  // namespace tidepool
