// Winograd's minimal filtering F(m x m, 3 x 3) on a tile: y = A^T [(G w G^T) . (B^T x B)] A (Winograd 1980; Lavin &
// Gray, CVPR 2016). Every function works on a run of lanes V, one channel a lane.
//
// F(4x4) interpolates at 0, +-5/8, +-3/2 and infinity: the error is a third to a fifth of that with 0, +-1, +-2
// (measured on VGG-16's layers). F(2x2) takes 0, +-1 and infinity.
#pragma once
#include "core/lanes.h"

namespace tidepool::winograd {

/// The transforms along one axis. s and q are the steps between the elements read and written, in vectors.
template <int m>
struct Axis;

template <>
struct Axis<4> {
  static constexpr int kTile = 6;
  static constexpr float a = 0.625f, b = 1.5f;
  static constexpr float a2 = a * a, b2 = b * b, a3 = a2 * a, b3 = b2 * b;
  static constexpr float na = 1 / (2 * a2 * (a2 - b2)), nb = 1 / (2 * b2 * (b2 - a2));

  template <class V>
  static TP_INLINE void input(const V* d, int s, V* o, int q) {  // B^T d
    const V d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s];
    const V e = d4 - b2 * d2, f = a * d3 - (a * b2) * d1, g = d4 - a2 * d2, h = b * d3 - (b * a2) * d1;
    o[0] = (a2 * b2) * d[0] - (a2 + b2) * d2 + d4;
    o[q] = e + f;
    o[2 * q] = e - f;
    o[3 * q] = g + h;
    o[4 * q] = g - h;
    o[5 * q] = (a2 * b2) * d1 - (a2 + b2) * d3 + d[5 * s];
  }
  template <class V>
  static TP_INLINE void output(const V* u, int s, V* o, int q) {  // A^T u
    const V e = u[s] + u[2 * s], f = u[s] - u[2 * s], g = u[3 * s] + u[4 * s], h = u[3 * s] - u[4 * s];
    o[0] = u[0] + e + g;
    o[q] = a * f + b * h;
    o[2 * q] = a2 * e + b2 * g;
    o[3 * q] = a3 * f + b3 * h + u[5 * s];
  }
  template <class V>
  static TP_INLINE void output_transposed(const V* y, int s, V* o, int q) {  // A y
    const V e = y[0] + a2 * y[2 * s], f = a * y[s] + a3 * y[3 * s], g = y[0] + b2 * y[2 * s],
            h = b * y[s] + b3 * y[3 * s];
    const V y3 = y[3 * s];
    o[0] = y[0];
    o[q] = e + f;
    o[2 * q] = e - f;
    o[3 * q] = g + h;
    o[4 * q] = g - h;
    o[5 * q] = y3;
  }
  template <class V>
  static TP_INLINE void weights(const V* w, int s, V* o, int q) {  // G w
    const V e = na * w[0] + (na * a2) * w[2 * s], f = (na * a) * w[s];
    const V g = nb * w[0] + (nb * b2) * w[2 * s], h = (nb * b) * w[s];
    const V w2 = w[2 * s];
    o[0] = (1 / (a2 * b2)) * w[0];
    o[q] = e + f;
    o[2 * q] = e - f;
    o[3 * q] = g + h;
    o[4 * q] = g - h;
    o[5 * q] = w2;
  }
  template <class V>
  static TP_INLINE void weights_transposed(const V* u, int s, V* o, int q) {  // G^T u
    const V e = u[s] + u[2 * s], f = u[s] - u[2 * s], g = u[3 * s] + u[4 * s], h = u[3 * s] - u[4 * s];
    o[0] = (1 / (a2 * b2)) * u[0] + na * e + nb * g;
    o[q] = (na * a) * f + (nb * b) * h;
    o[2 * q] = (na * a2) * e + (nb * b2) * g + u[5 * s];
  }
};

template <>
struct Axis<2> {
  static constexpr int kTile = 4;

  template <class V>
  static TP_INLINE void input(const V* d, int s, V* o, int q) {
    const V d1 = d[s], d2 = d[2 * s], d3 = d[3 * s];
    o[0] = d[0] - d2;
    o[q] = d1 + d2;
    o[2 * q] = d2 - d1;
    o[3 * q] = d1 - d3;
  }
  template <class V>
  static TP_INLINE void output(const V* u, int s, V* o, int q) {
    o[0] = u[0] + u[s] + u[2 * s];
    o[q] = u[s] - u[2 * s] - u[3 * s];
  }
  template <class V>
  static TP_INLINE void output_transposed(const V* y, int s, V* o, int q) {
    const V y0 = y[0], y1 = y[s];
    o[0] = y0;
    o[q] = y0 + y1;
    o[2 * q] = y0 - y1;
    o[3 * q] = -y1;
  }
  template <class V>
  static TP_INLINE void weights(const V* w, int s, V* o, int q) {
    const V e = 0.5f * (w[0] + w[2 * s]), f = 0.5f * w[s], w2 = w[2 * s];
    o[0] = w[0];
    o[q] = e + f;
    o[2 * q] = e - f;
    o[3 * q] = w2;
  }
  template <class V>
  static TP_INLINE void weights_transposed(const V* u, int s, V* o, int q) {
    const V e = 0.5f * (u[s] + u[2 * s]), f = 0.5f * (u[s] - u[2 * s]), u3 = u[3 * s];
    o[0] = u[0] + e;
    o[q] = f;
    o[2 * q] = e + u3;
  }
};

/// Points of a transformed tile.
template <int m>
inline constexpr int kPoints = Axis<m>::kTile* Axis<m>::kTile;

// Both axes, one after the other. Tiles lie row-major.

/// kTile x kTile pixels -> kPoints.
template <int m, class V>
TP_INLINE void transform_input(const V* pixels, V* points) {
  constexpr int n = Axis<m>::kTile;
  V half[n * n];
#pragma GCC unroll 6
  for (int j = 0; j < n; ++j) Axis<m>::input(pixels + j, n, half + j, n);
#pragma GCC unroll 6
  for (int i = 0; i < n; ++i) Axis<m>::input(half + i * n, 1, points + i * n, 1);
}

/// kPoints -> m x m pixels.
template <int m, class V>
TP_INLINE void transform_output(const V* points, V* pixels) {
  constexpr int n = Axis<m>::kTile;
  V half[m * n];
#pragma GCC unroll 6
  for (int j = 0; j < n; ++j) Axis<m>::output(points + j, n, half + j, n);
#pragma GCC unroll 6
  for (int i = 0; i < m; ++i) Axis<m>::output(half + i * n, 1, pixels + i * m, 1);
}

/// m x m pixels of a gradient -> kPoints: the transposed output transform.
template <int m, class V>
TP_INLINE void transform_gradient(const V* pixels, V* points) {
  constexpr int n = Axis<m>::kTile;
  V half[n * m];
#pragma GCC unroll 6
  for (int j = 0; j < m; ++j) Axis<m>::output_transposed(pixels + j, m, half + j, m);
#pragma GCC unroll 6
  for (int i = 0; i < n; ++i) Axis<m>::output_transposed(half + i * m, 1, points + i * n, 1);
}

/// 9 taps -> kPoints.
template <int m, class V>
TP_INLINE void transform_weights(const V* taps, V* points) {
  constexpr int n = Axis<m>::kTile;
  V half[n * 3];
#pragma GCC unroll 6
  for (int j = 0; j < 3; ++j) Axis<m>::weights(taps + j, 3, half + j, 3);
#pragma GCC unroll 6
  for (int i = 0; i < n; ++i) Axis<m>::weights(half + i * 3, 1, points + i * n, 1);
}

/// kPoints of summed products -> the gradient of 9 taps: the transposed weight transform.
template <int m, class V>
TP_INLINE void transform_weight_gradient(const V* points, V* taps) {
  constexpr int n = Axis<m>::kTile;
  V half[3 * n];
#pragma GCC unroll 6
  for (int j = 0; j < n; ++j) Axis<m>::weights_transposed(points + j, n, half + j, n);
#pragma GCC unroll 6
  for (int i = 0; i < 3; ++i) Axis<m>::weights_transposed(half + i * n, 1, taps + i * 3, 1);
}

}  // namespace tidepool::winograd
