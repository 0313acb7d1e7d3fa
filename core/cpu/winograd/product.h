// The matrix products of a transformed convolution, as register blocks: operands are panels in cache, laid out so that
// memory is read in order. L is the number of lanes of V.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "core/cpu/winograd/prefetch.h"
#include "core/lanes.h"

namespace tidepool::winograd {

/// A product's register block: rows x columns of vectors fill the register file, less what the operands take.
template <class V>
inline constexpr int kRows = kLanes<V> == 16 ? 14 : 6;
inline constexpr int kColumns = 2;
/// A weight gradient's register block.
template <class V>
inline constexpr int kGradientRows = kLanes<V> == 16 ? 8 : 4;

/// c[column][row][L] = sum over k < depth of a[k / L][row][k % L] b[k][column][L]. a_step and c_step are the elements
/// between two blocks of a and two columns of c. On the way b + ahead is brought nearer: the panel of the next product,
/// which would be waited for otherwise (10% of a product with deep panels); and `soon`, one line per step.
template <class V, int rows, int columns>
void multiply(const float* a, int64_t a_step, int64_t depth, const float* b, int64_t ahead, PrefetchLines soon,
              float* c, int64_t c_step) {
  constexpr int n = kLanes<V>;
  V sum[rows][columns];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < columns; ++j) sum[r][j] = V{};
  const auto steps = [&](int64_t count) __attribute__((always_inline)) {
    for (int64_t k = 0; k < count; ++k, b += columns * n) {
      soon.next();
      V right[columns];
#pragma GCC unroll 2
      for (int j = 0; j < columns; ++j) {
        right[j] = load<V>(b + j * n);
        __builtin_prefetch(b + ahead + j * n, 0, 2);
      }
#pragma GCC unroll 16
      for (int r = 0; r < rows; ++r) {
        const float left = a[r * n + k];
#pragma GCC unroll 2
        for (int j = 0; j < columns; ++j) sum[r][j] += left * right[j];
      }
    }
  };
  for (int64_t k = 0; k + n <= depth; k += n, a += a_step) steps(n);
  steps(depth % n);
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < columns; ++j) store(c + j * c_step + r * n, sum[r][j]);
}

/// The same for `total` rows that lie in blocks of `block` (at most kRows) rows: a[row / block][k / L][row % block][L].
/// Without `soon` the rows lie far off, and each block brings the next one nearer: `next` is what follows the last.
template <class V, int columns>
void multiply_rows(int64_t total, int64_t block, const float* a, int64_t depth, const float* next, const float* b,
                   int64_t ahead, PrefetchQueue* soon, float* c, int64_t c_step) {
  using Kernel = void (*)(const float*, int64_t, int64_t, const float*, int64_t, PrefetchLines, float*, int64_t);
  static constexpr auto kKernels = []<int... r>(std::integer_sequence<int, r...>) {
    return std::array<Kernel, sizeof...(r)>{&multiply<V, r + 1, columns>...};
  }
  (std::make_integer_sequence<int, kRows<V>>{});
  constexpr int n = kLanes<V>;
  const int64_t a_step = block * n, blocks = (depth + n - 1) / n;
  for (int64_t row = 0; row < total; row += block, a += blocks * a_step) {
    const PrefetchLines lines =
        soon ? soon->take(depth, c) : PrefetchLines::from(row + block < total ? a + blocks * a_step : next);
    kKernels[static_cast<size_t>(std::min(block, total - row) - 1)](a, a_step, depth, b, row == 0 ? ahead : 0, lines,
                                                                    c + row * n, c_step);
  }
}

/// d[row][column][L] = or += (by `first`) sum over t < count of a[t][row] b[column][t][L], for kGradientRows rows of
/// the L that lie side by side in a, and one or two columns, b_step elements apart. kAhead brings a + a_ahead and
/// b + b_ahead nearer: worth it when they do not lie in the nearest caches anyway. `soon`: one line per step.
template <class V, int columns, bool kAhead>
void accumulate(const float* a, int64_t a_ahead, const float* b, int64_t b_step, int64_t b_ahead, int64_t count,
                PrefetchLines soon, float* d, bool first) {
  constexpr int n = kLanes<V>, rows = kGradientRows<V>;
  V sum[rows][columns];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < columns; ++j) sum[r][j] = first ? V{} : load<V>(d + (r * columns + j) * n);
  for (int64_t t = 0; t < count; ++t, a += n, b += n) {
    soon.next();
    if constexpr (kAhead) __builtin_prefetch(a + a_ahead, 0, 2);
    V right[columns];
#pragma GCC unroll 2
    for (int j = 0; j < columns; ++j) {
      right[j] = load<V>(b + j * b_step);
      if constexpr (kAhead) __builtin_prefetch(b + j * b_step + b_ahead, 0, 2);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const float left = a[r];
#pragma GCC unroll 2
      for (int j = 0; j < columns; ++j) sum[r][j] += left * right[j];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < columns; ++j) store(d + (r * columns + j) * n, sum[r][j]);
}

}  // namespace tidepool::winograd
