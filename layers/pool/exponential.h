// Means of a window weighted by exponentials, as parts that operators are made of: by the elements themselves (soft,
// em) and by their similarity to the mean (edscw); ada mixes the two. Results stand as differences from the window's
// maximum m, so that large elements keep their digits, and so that the difference of two of them does.
#pragma once
#include "core/lane_math.h"
#include "layers/pool/window_kernels.h"

namespace tidepool {

/// w_i = exp(beta (x_i - m)) / sum_j exp(beta (x_j - m)), y = m + sum_i w_i (x_i - m), beta >= 0.
template <class V>
struct SoftMean {
  V m, scale, offset;  ///< max x_i; 1 / sum exp; y - m
  static constexpr int kState = 3;

  /// m may leave NaN out (Window::largest): where an element is NaN, the result and every slope are.
  template <class W>
  TP_HD TP_INLINE static SoftMean of(const W& x, Lane<V> beta) {
    const Weights<V> weights(beta);
    SoftMean s;
    V sums[2];
    s.m = x.totals_below(sums, {1, 0}, [&](V below, V(&part)[2]) {
      const V u = weights.within(below), w = weights(u);  // a weight of exactly 0 would meet an infinity
      part[0] = part[0] + w;
      part[1] = part[1] + w * u;
    });
    s.scale = reciprocal_lanes(sums[0]);
    s.offset = sums[1] * s.scale;
    return s;
  }
  /// d y / d x_i; frozen: with the weights as constants.
  TP_HD TP_INLINE V slope(V x_i, Lane<V> beta, bool frozen) const {
    const Weights<V> weights(beta);
    const V u = weights.within(x_i - m), w = weights(u) * scale;
    return frozen ? w : w * (splat<V>(1) + splat<V>(beta) * (u - offset));
  }
  TP_HD TP_INLINE void put(V* state) const { state[0] = m, state[1] = scale, state[2] = offset; }
  TP_HD TP_INLINE static SoftMean get(const V* state) {
    SoftMean s;
    s.m = state[0], s.scale = state[1], s.offset = state[2];
    return s;
  }
};

/// What a window of such a mean gives, for SoftMean::get in the backward.
template <class V, class W>
TP_HD TP_INLINE Pooled<V, SoftMean<V>::kState> pooled_soft(const W& x, Lane<V> beta) {
  const auto s = SoftMean<V>::of(x, beta);
  Pooled<V, SoftMean<V>::kState> p;
  p.y = s.m + s.offset;
  s.put(p.state);
  return p;
}

/// The window of an operator that is soft at beta 1: em, and lip where the logits are x itself.
struct SoftWindow {
  static constexpr Keeps kKeeps = Keeps::input;
  static constexpr int kState = SoftMean<float>::kState;

  template <class V, class W>
  TP_HD TP_INLINE Pooled<V, kState> reduce(const W& x) const {
    return pooled_soft<V>(x, 1);
  }
  template <class V>
  TP_HD TP_INLINE V backward(V dy, V x_i, const WindowPosition& /*at*/, const Pooled<V, kState>& p) const {
    return dy * SoftMean<V>::get(p.state).slope(x_i, 1, false);
  }
};

/// D = 2 |x a| / (x^2 + a^2), D(0, 0) = 1, and its derivatives; of x and a over the larger of them, so that no square
/// overflows or vanishes.
template <class V>
struct DiceSorensen {
  V value, by_x, by_a;

  TP_HD TP_INLINE static DiceSorensen of(V x, V a) {
    // f32: the scale of denormal numbers is infinite, and window_kernels.h takes f64; where the processor flushes them,
    // no number but 0 may be named here: windows of zeros would be taken for theirs.
    constexpr auto kSmallest = static_cast<Lane<V>>(sizeof(Lane<V>) == 4 ? 0 : 1e-307);
    const V none = splat<V>(0), one = splat<V>(1), sx = abs_lanes(x), sa = abs_lanes(a), larger = max_nan(sx, sa);
    const auto empty = larger <= splat<V>(kSmallest);
    const V scale = empty ? none : one / larger, p = sx * scale, q = sa * scale;
    const V sum = empty ? one : p * p + q * q, slope = (q - p) * (q + p) / (sum * sum) * scale;
    DiceSorensen d;
    d.value = empty ? one : (p + p) * q / sum;
    d.by_x = sign_lanes(x) * (q + q) * slope;
    d.by_a = -sign_lanes(a) * (p + p) * slope;
    return d;
  }
};

/// w_i = exp(D(x_i, a)) / sum_j exp(D(x_j, a)), a the window's mean, y = m + sum_i w_i (x_i - m).
template <class V>
struct SimilarityMean {
  V m, mean, scale, offset, through_mean{};  ///< max x_i; a; 1 / sum exp(D - 1); y - m; d y / d x_i through a
  static constexpr int kState = 5;

  template <class W>
  TP_HD TP_INLINE static SimilarityMean of(const W& x, V m) {
    SimilarityMean s;
    s.m = m;
    s.mean = x.exact_mean();  // a derivative of D is as steep as 1 / a
    V sums[2];
    x.totals(sums, [&](V v, int32_t, V(&part)[2]) {
      const V w = s.weight(DiceSorensen<V>::of(v, s.mean));
      part[0] = part[0] + w;
      part[1] = part[1] + w * (v - m);
    });
    s.scale = splat<V>(1) / sums[0];
    s.offset = sums[1] * s.scale;
    return s;
  }
  /// What `slope` needs beside: a pass over the window that a forward does without.
  template <class W>
  TP_HD TP_INLINE void prepare_slope(const W& x) {
    const V sum = x.sum([&](V v) {
      const DiceSorensen<V> d = DiceSorensen<V>::of(v, mean);
      return weight(d) * ((v - m) - offset) * d.by_a;
    });
    through_mean = sum * scale / splat<V>(static_cast<Lane<V>>(x.real()));
  }
  /// d y / d x_i.
  TP_HD TP_INLINE V slope(V x_i) const {
    const DiceSorensen<V> d = DiceSorensen<V>::of(x_i, mean);
    return weight(d) * scale * (splat<V>(1) + ((x_i - m) - offset) * d.by_x) + through_mean;
  }
  TP_HD TP_INLINE void put(V* state) const {
    state[0] = m, state[1] = mean, state[2] = scale, state[3] = offset, state[4] = through_mean;
  }
  TP_HD TP_INLINE static SimilarityMean get(const V* state) {
    SimilarityMean s;
    s.m = state[0], s.mean = state[1], s.scale = state[2], s.offset = state[3], s.through_mean = state[4];
    return s;
  }

 private:
  TP_HD TP_INLINE static V weight(const DiceSorensen<V>& d) { return exp_lanes(d.value - splat<V>(1)); }
};

}  // namespace tidepool
