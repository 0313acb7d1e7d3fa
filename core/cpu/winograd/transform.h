// Winograd's minimal filtering F(a x b, 3 x 3) on a tile of a x b results: y = A^T [(G w G^T) . (B^T x B)] A (Winograd
// 1980; Lavin & Gray, CVPR 2016). Every function works on a run of lanes V, one channel a lane.
//
// An axis of 4 results interpolates at 0, +-5/8, +-3/2 and infinity: the error is a third to a fifth of that with 0,
// +-1, +-2 (measured on VGG-16's layers). 3 results take the same points less infinity, 2 take 0, +-1 and infinity. 5
// results take 0, +-9/16, +-9/8 and +-9/4, the best of a search: their error is that of 4 with 0, +-1, +-2. (6, with
// infinity, would have four times that.)
#pragma once
#include <type_traits>

#include "core/lanes.h"

namespace tidepool::winograd {

/// How an axis is divided: `results` a tile. `whole`: the axis has no more of them and is padded by 1; what lies beyond
/// it is not read, since the zeros there need no products.
struct Side {
  int results;
  bool whole = false;

  constexpr bool operator==(const Side&) const = default;
};

/// The transforms along one axis. s and q are the steps between the elements read and written, in vectors.
template <Side side>
struct Axis;

/// 4 results, or 3: then without the point at infinity.
template <bool infinity>
struct LongAxis {
  static constexpr int kPoints = infinity ? 6 : 5, kReads = kPoints;
  static constexpr float a = 0.625f, b = 1.5f;
  static constexpr float a2 = a * a, b2 = b * b, a3 = a2 * a, b3 = b2 * b;
  static constexpr float na = 1 / (2 * a2 * (a2 - b2)), nb = 1 / (2 * b2 * (b2 - a2));

  template <class V>
  static TP_INLINE void input(const V* d, int s, V* o, int q) {  // B^T d
    const V d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s];
    const V e = d4 - b2 * d2, f = d3 - b2 * d1, g = d4 - a2 * d2, h = d3 - a2 * d1;
    o[0] = (d4 - (a2 + b2) * d2) + (a2 * b2) * d[0];
    o[q] = e + a * f;
    o[2 * q] = e - a * f;
    o[3 * q] = g + b * h;
    o[4 * q] = g - b * h;
    if constexpr (infinity) o[5 * q] = (d[5 * s] - (a2 + b2) * d3) + (a2 * b2) * d1;
  }
  template <class V>
  static TP_INLINE void output(const V* u, int s, V* o, int q) {  // A^T u
    const V e = u[s] + u[2 * s], f = u[s] - u[2 * s], g = u[3 * s] + u[4 * s], h = u[3 * s] - u[4 * s];
    o[0] = u[0] + (e + g);
    o[q] = a * f + b * h;
    o[2 * q] = a2 * e + b2 * g;
    if constexpr (infinity) o[3 * q] = b3 * h + (a3 * f + u[5 * s]);
  }
  template <class V>
  static TP_INLINE void output_transposed(const V* y, int s, V* o, int q) {  // A y
    V f = y[s], h = y[s];
    if constexpr (infinity) {
      f = f + a2 * y[3 * s];
      h = h + b2 * y[3 * s];
      o[5 * q] = y[3 * s];
    }
    const V y0 = y[0], e = y0 + a2 * y[2 * s], g = y0 + b2 * y[2 * s];
    o[0] = y0;
    o[q] = e + a * f;
    o[2 * q] = e - a * f;
    o[3 * q] = g + b * h;
    o[4 * q] = g - b * h;
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
    if constexpr (infinity) o[5 * q] = w2;
  }
  template <class V>
  static TP_INLINE void weights_transposed(const V* u, int s, V* o, int q) {  // G^T u
    const V e = u[s] + u[2 * s], f = u[s] - u[2 * s], g = u[3 * s] + u[4 * s], h = u[3 * s] - u[4 * s];
    o[0] = (1 / (a2 * b2)) * u[0] + na * e + nb * g;
    o[q] = (na * a) * f + (nb * b) * h;
    o[2 * q] = (na * a2) * e + (nb * b2) * g;
    if constexpr (infinity) o[2 * q] = o[2 * q] + u[5 * s];
  }
};
template <>
struct Axis<Side{4}> : LongAxis<true> {};
template <>
struct Axis<Side{3}> : LongAxis<false> {};

/// 5 results. A pair of points +-p shares e, the even terms, and f, the odd ones.
template <>
struct Axis<Side{5}> {
  static constexpr int kPoints = 7, kReads = kPoints;
  static constexpr float kPairs[3] = {0.5625f, 1.125f, 2.25f};
  static constexpr float square(int i) { return kPairs[i] * kPairs[i]; }
  /// Of the other two points' squares: their sum and product.
  static constexpr float sum(int i) { return square((i + 1) % 3) + square((i + 2) % 3); }
  static constexpr float product(int i) { return square((i + 1) % 3) * square((i + 2) % 3); }
  /// 1 / the product of the distances to all other points.
  static constexpr float norm(int i) {
    const float p = square(i);
    return 1 / (2 * p * (p - square((i + 1) % 3)) * (p - square((i + 2) % 3)));
  }
  static constexpr float all() { return square(0) * product(0); }

  /// Calls f(std::integral_constant<int, i>) for each pair.
  template <class Fn>
  static TP_INLINE void each_pair(const Fn& f) {
    f(std::integral_constant<int, 0>{});
    f(std::integral_constant<int, 1>{});
    f(std::integral_constant<int, 2>{});
  }

  template <class V>
  static TP_INLINE void input(const V* d, int s, V* o, int q) {
    const V d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s], d6 = d[6 * s];
    o[0] = (d6 - (square(0) + sum(0)) * d4) + ((square(0) * sum(0) + product(0)) * d2 - all() * d[0]);
    each_pair([&]<int i>(std::integral_constant<int, i>) {
      const V e = (d6 - sum(i) * d4) + product(i) * d2, f = (d5 - sum(i) * d3) + product(i) * d1;
      o[(2 * i + 1) * q] = e + kPairs[i] * f;
      o[(2 * i + 2) * q] = e - kPairs[i] * f;
    });
  }
  template <class V>
  static TP_INLINE void output(const V* u, int s, V* o, int q) {
    V y[5] = {u[0], V{}, V{}, V{}, V{}};
    each_pair([&]<int i>(std::integral_constant<int, i>) {
      const V e = u[(2 * i + 1) * s] + u[(2 * i + 2) * s], f = u[(2 * i + 1) * s] - u[(2 * i + 2) * s];
      y[0] += e;
      y[1] += kPairs[i] * f;
      y[2] += square(i) * e;
      y[3] += (square(i) * kPairs[i]) * f;
      y[4] += (square(i) * square(i)) * e;
    });
#pragma GCC unroll 5
    for (int i = 0; i < 5; ++i) o[i * q] = y[i];
  }
  template <class V>
  static TP_INLINE void output_transposed(const V* y, int s, V* o, int q) {
    const V y0 = y[0], y1 = y[s], y2 = y[2 * s], y3 = y[3 * s], y4 = y[4 * s];
    o[0] = y0;
    each_pair([&]<int i>(std::integral_constant<int, i>) {
      const V e = y0 + square(i) * (y2 + square(i) * y4), f = y1 + square(i) * y3;
      o[(2 * i + 1) * q] = e + kPairs[i] * f;
      o[(2 * i + 2) * q] = e - kPairs[i] * f;
    });
  }
  template <class V>
  static TP_INLINE void weights(const V* w, int s, V* o, int q) {
    const V w0 = w[0], w1 = w[s], w2 = w[2 * s];
    o[0] = (-1 / all()) * w0;
    each_pair([&]<int i>(std::integral_constant<int, i>) {
      const V e = norm(i) * w0 + (norm(i) * square(i)) * w2, f = (norm(i) * kPairs[i]) * w1;
      o[(2 * i + 1) * q] = e + f;
      o[(2 * i + 2) * q] = e - f;
    });
  }
  template <class V>
  static TP_INLINE void weights_transposed(const V* u, int s, V* o, int q) {
    V w[3] = {(-1 / all()) * u[0], V{}, V{}};
    each_pair([&]<int i>(std::integral_constant<int, i>) {
      const V e = u[(2 * i + 1) * s] + u[(2 * i + 2) * s], f = u[(2 * i + 1) * s] - u[(2 * i + 2) * s];
      w[0] += norm(i) * e;
      w[1] += (norm(i) * kPairs[i]) * f;
      w[2] += (norm(i) * square(i)) * e;
    });
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) o[i * q] = w[i];
  }
};

template <>
struct Axis<Side{2}> {
  static constexpr int kPoints = 4, kReads = kPoints;

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

/// One pixel padded by 1 meets the middle tap alone.
template <>
struct Axis<Side{1, true}> {
  static constexpr int kPoints = 1, kReads = 1;

  template <class V>
  static TP_INLINE void input(const V* d, int /*s*/, V* o, int /*q*/) {
    o[0] = d[0];
  }
  template <class V>
  static TP_INLINE void output(const V* u, int /*s*/, V* o, int /*q*/) {
    o[0] = u[0];
  }
  template <class V>
  static TP_INLINE void output_transposed(const V* y, int /*s*/, V* o, int /*q*/) {
    o[0] = y[0];
  }
  template <class V>
  static TP_INLINE void weights(const V* w, int s, V* o, int /*q*/) {
    o[0] = w[s];
  }
  template <class V>
  static TP_INLINE void weights_transposed(const V* u, int /*s*/, V* o, int q) {
    const V u0 = u[0];
    o[0] = V{};
    o[q] = u0;
    o[2 * q] = V{};
  }
};

/// Two pixels padded by 1: y0 = w1 x0 + w2 x1 and y1 = w0 x0 + w1 x1 share w1 (x0 + x1), three products where F(2, 3)
/// has four (Karatsuba & Ofman 1962).
template <>
struct Axis<Side{2, true}> {
  static constexpr int kPoints = 3, kReads = 2;

  template <class V>
  static TP_INLINE void input(const V* d, int s, V* o, int q) {
    const V d0 = d[0], d1 = d[s];
    o[0] = d0;
    o[q] = d0 + d1;
    o[2 * q] = d1;
  }
  template <class V>
  static TP_INLINE void output(const V* u, int s, V* o, int q) {
    o[0] = u[s] + u[2 * s];
    o[q] = u[s] + u[0];
  }
  template <class V>
  static TP_INLINE void output_transposed(const V* y, int s, V* o, int q) {
    const V y0 = y[0], y1 = y[s];
    o[0] = y1;
    o[q] = y0 + y1;
    o[2 * q] = y0;
  }
  template <class V>
  static TP_INLINE void weights(const V* w, int s, V* o, int q) {
    const V w0 = w[0], w1 = w[s], w2 = w[2 * s];
    o[0] = w0 - w1;
    o[q] = w1;
    o[2 * q] = w2 - w1;
  }
  template <class V>
  static TP_INLINE void weights_transposed(const V* u, int s, V* o, int q) {
    const V u0 = u[0], u1 = u[s], u2 = u[2 * s];
    o[0] = u0;
    o[q] = u1 - (u0 + u2);
    o[2 * q] = u2;
  }
};

/// F(a x b, 3x3): a tile of a x b results is formed from kReadsA x kReadsB pixels, by kA x kB points. All lie
/// row-major.
template <Side a_, Side b_>
struct Filtering {
  static constexpr Side kSideA = a_, kSideB = b_;
  using AlongA = Axis<a_>;
  using AlongB = Axis<b_>;
  static constexpr int a = a_.results, b = b_.results, kA = AlongA::kPoints, kB = AlongB::kPoints, kPoints = kA * kB,
                       kReadsA = AlongA::kReads, kReadsB = AlongB::kReads;
};

/// Both axes, one after the other: rows x columns elements -> out_rows x out_columns. along_a and along_b transform one
/// line, given its elements, where its results go and how far apart. get(j)(i) is element (i, j), put(i)(j, v) takes
/// one: they are loaded on demand and stored at once, so that they pass through
/// registers.
template <int rows, int columns, int out_rows, int out_columns, class V, class Get, class Put, class A, class B>
TP_INLINE void both_axes(const Get& get, const Put& put, const A& along_a, const B& along_b) {
  V half[out_rows * columns];
#pragma GCC unroll 7
  for (int j = 0; j < columns; ++j) {
    const auto column = get(j);
    V d[rows];
#pragma GCC unroll 7
    for (int i = 0; i < rows; ++i) d[i] = column(i);
    along_a(d, half + j, columns);
  }
#pragma GCC unroll 7
  for (int i = 0; i < out_rows; ++i) {
    const auto row = put(i);
    V o[out_columns];
    along_b(half + i * columns, o, 1);
#pragma GCC unroll 7
    for (int j = 0; j < out_columns; ++j) row(j, o[j]);
  }
}

/// The two ways between both_axes and a row-major array of rows of `columns`.
template <int columns, class V>
TP_INLINE auto from(const V* array) {
  return [=](int j) { return [=](int i) { return array[i * columns + j]; }; };
}
template <int columns, class V>
TP_INLINE auto into(V* array) {
  return [=](int i) { return [=](int j, V v) { array[i * columns + j] = v; }; };
}

/// kReadsA x kReadsB pixels -> kPoints.
template <class F, class V, class Get, class Put>
TP_INLINE void transform_input(const Get& get, const Put& put) {
  both_axes<F::kReadsA, F::kReadsB, F::kA, F::kB, V>(
      get, put, [](const V* d, V* o, int q) { F::AlongA::input(d, 1, o, q); },
      [](const V* d, V* o, int q) { F::AlongB::input(d, 1, o, q); });
}

/// kPoints -> a x b pixels.
template <class F, class V, class Get>
TP_INLINE void transform_output(const Get& get, V* pixels) {
  both_axes<F::kA, F::kB, F::a, F::b, V>(
      get, into<F::b>(pixels), [](const V* u, V* o, int q) { F::AlongA::output(u, 1, o, q); },
      [](const V* u, V* o, int q) { F::AlongB::output(u, 1, o, q); });
}

/// a x b pixels of a gradient -> kPoints: the transposed output transform.
template <class F, class V, class Get, class Put>
TP_INLINE void transform_gradient(const Get& get, const Put& put) {
  both_axes<F::a, F::b, F::kA, F::kB, V>(
      get, put, [](const V* y, V* o, int q) { F::AlongA::output_transposed(y, 1, o, q); },
      [](const V* y, V* o, int q) { F::AlongB::output_transposed(y, 1, o, q); });
}

/// 3 x 3 taps -> kPoints.
template <class F, class V>
TP_INLINE void transform_weights(const V* taps, V* points) {
  both_axes<3, 3, F::kA, F::kB, V>(
      from<3>(taps), into<F::kB>(points), [](const V* w, V* o, int q) { F::AlongA::weights(w, 1, o, q); },
      [](const V* w, V* o, int q) { F::AlongB::weights(w, 1, o, q); });
}

/// kPoints of summed products -> the gradient of the taps: the transposed weight transform.
template <class F, class V>
TP_INLINE void transform_weight_gradient(const V* points, V* taps) {
  both_axes<F::kA, F::kB, 3, 3, V>(
      from<F::kB>(points), into<3>(taps), [](const V* u, V* o, int q) { F::AlongA::weights_transposed(u, 1, o, q); },
      [](const V* u, V* o, int q) { F::AlongB::weights_transposed(u, 1, o, q); });
}

}  // namespace tidepool::winograd
