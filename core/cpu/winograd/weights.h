// Weights [O, C, 3, 3], row-major, to transformed panels and, for gradients, back. A panel is U[point][k][column][L]:
// all reduced channels k of `columns` vectors of result channels.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>

#include "core/cpu/weight_cache.h"
#include "core/cpu/winograd/tiles.h"
#include "core/transpose.h"

namespace tidepool::winograd {

/// Which convolution the weights are for.
enum class Direction { forward, backward_data };

/// What transformed weights depend on, beside the weights.
struct PanelLayout {
  Direction direction;
  Side down, across;
  int64_t outputs, inputs;
  int lanes;

  bool operator==(const PanelLayout&) const = default;
};

/// Transformed weights that evaluation reads batch after batch.
WeightCache<PanelLayout>& transformed_weights();
/// Tiles of more points have theirs made each time: keeping four times the weights' bytes, as F(4x4) would, gains
/// nothing (measured).
inline constexpr int kKeptPoints = 16;

/// L output channels from `o` on and L input channels from `c` on, as taps[input * 9 + tap], a lane an output channel;
/// 0 where there are none.
template <class V>
void read_weights(const float* w, int64_t outputs, int64_t inputs, int64_t o, int64_t c, V* taps) {
  constexpr int n = kLanes<V>;
  const int64_t length = 9 * std::min<int64_t>(n, inputs - c);
  for (int g = 0; g < 9; ++g) {
    const int64_t count = length - g * n;
    for (int r = 0; r < n; ++r) {
      const float* p = w + ((o + r) * inputs + c) * 9 + g * n;
      taps[g * n + r] = o + r >= outputs || count <= 0 ? V{} : count >= n ? load<V>(p) : load_some<V>(p, count);
    }
    transpose(taps + g * n);
  }
}

/// The taps of a turned tile: their transpose.
template <class V>
TP_INLINE void turn_taps(V* taps) {
  std::swap(taps[1], taps[3]);
  std::swap(taps[2], taps[6]);
  std::swap(taps[5], taps[7]);
}

/// Reduced channels [begin, end) of the panel of result channels [channel, channel + columns L), points `step` elements
/// apart. begin is a multiple of L.
template <class F, int columns, class V>
void transform_panel(Direction direction, bool turned_tiles, const float* w, int64_t outputs, int64_t inputs,
                     int64_t channel, int64_t begin, int64_t end, float* u, int64_t step) {
  constexpr int n = kLanes<V>;
  const bool forward = direction == Direction::forward;
  const int64_t results = forward ? outputs : inputs;
  V taps[9 * n], turned[9 * n];
  for (int64_t k = begin; k < end; k += n)
    for (int j = 0; j < columns; ++j) {
      const int64_t result = channel + j * n;
      if (result >= results) {
        for (int i = 0; i < 9 * n; ++i) turned[i] = V{};
      } else if (forward) {
        read_weights(w, outputs, inputs, result, k, turned);  // [k][tap], a lane a result channel
      } else {
        read_weights(w, outputs, inputs, k, result, taps);
        for (int tap = 0; tap < 9; ++tap) {  // the kernel turned by 180 degrees
          V block[n];
          for (int i = 0; i < n; ++i) block[i] = taps[i * 9 + tap];
          transpose(block);
          for (int i = 0; i < n; ++i) turned[i * 9 + 8 - tap] = block[i];
        }
      }
      for (int64_t r = 0; r < std::min<int64_t>(n, end - k); ++r) {
        if (turned_tiles) turn_taps(turned + r * 9);
        V points[F::kPoints];
        transform_weights<F>(turned + r * 9, points);
        float* out = u + (k + r) * columns * n + j * n;
#pragma GCC unroll 49
        for (int p = 0; p < F::kPoints; ++p) store(out + p * step, points[p]);
      }
    }
}

/// Summed products d[part][point][input][column][L], L input channels from `c` on, `columns` vectors of output channels
/// from `o` on -> dw. Parts are added in order.
template <class F, int columns, class V>
void store_weight_gradient(const float* d, int64_t point_step, int64_t parts, int64_t part_step, bool turned_tiles,
                           float* dw, int64_t outputs, int64_t inputs, int64_t c, int64_t o) {
  constexpr int n = kLanes<V>;
  const int64_t length = 9 * std::min<int64_t>(n, inputs - c);
  for (int j = 0; j < columns && o + j * n < outputs; ++j) {
    V taps[9 * n];
    for (int r = 0; r < n; ++r) {
      V points[F::kPoints];
      for (int p = 0; p < F::kPoints; ++p) {
        const float* in = d + p * point_step + (r * columns + j) * n;
        points[p] = load<V>(in);
        for (int64_t part = 1; part < parts; ++part) points[p] += load<V>(in + part * part_step);
      }
      transform_weight_gradient<F>(points, taps + r * 9);
      if (turned_tiles) turn_taps(taps + r * 9);
    }
    for (int g = 0; g < 9; ++g) {
      transpose(taps + g * n);
      const int64_t count = length - g * n;
      for (int r = 0; r < n && o + j * n + r < outputs && count > 0; ++r) {
        float* p = dw + ((o + j * n + r) * inputs + c) * 9 + g * n;
        if (count >= n)
          store(p, taps[g * n + r]);
        else
          store_some(p, taps[g * n + r], count);
      }
    }
  }
}

}  // namespace tidepool::winograd
