// Where windows lie. One geometry serves ranks 1, 2 and 3: a map is outer x D x H x W x inner, absent axes have length
// 1; plain memory: outer N*C, inner 1; channels-last: outer N, inner C.
#pragma once
#include <array>
#include <cstdint>

#include "core/host_device.h"
#include "core/tensor.h"
#include "layers/pool/keys.h"
#include "layers/trace.h"

namespace tidepool {

/// a / b of positions on a map, a >= 0 < b. A GPU divides numbers of 64 bits in a hundred instructions; there a
/// position has 32 (core/cuda/launch.h).
TP_HD TP_INLINE int64_t quotient(int64_t a, int64_t b) {
#if defined(TP_DEVICE_PASS)
  return int64_t{static_cast<uint32_t>(a) / static_cast<uint32_t>(b)};
#else
  return a / b;
#endif
}

/// Where a row of a map stands whose D and H have these lengths.
struct RowPlace {
  int64_t outer, d, h;

  TP_HD RowPlace(int64_t row, int64_t d_length, int64_t h_length) {
    const int64_t plane = quotient(row, h_length);
    outer = quotient(plane, d_length);
    d = plane - outer * d_length;
    h = row - plane * h_length;
  }
};

/// One axis: n positions in, m windows out, each of k elements d apart, s between starts, p absent positions before the
/// map.
struct WindowAxis {
  int64_t n = 1, m = 1;
  int32_t k = 1, s = 1, p = 0, d = 1;

  /// Position on the map of window o's first element; may be negative.
  TP_HD int64_t start(int64_t o) const { return o * s - p; }
  /// Real elements of window o: [first, last) of its k.
  TP_HD int32_t first(int64_t o) const {
    const int64_t at = start(o);
    return at >= 0 ? 0 : static_cast<int32_t>(quotient(-at + d - 1, d));
  }
  TP_HD int32_t last(int64_t o) const { return before(o, n); }
  TP_HD int32_t real(int64_t o) const { return last(o) - first(o); }
  /// Elements on the map or in its padding; a ceil_mode overhang is neither.
  TP_HD int32_t counted(int64_t o) const { return before(o, n + p); }
  /// Windows that may cover position i: [first, last].
  TP_HD int64_t first_covering(int64_t i) const {
    const int64_t from = i + p - int64_t{d} * (k - 1);
    return from <= 0 ? 0 : quotient(from + s - 1, s);
  }
  TP_HD int64_t last_covering(int64_t i) const {
    const int64_t o = quotient(i + p, s);
    return o < m ? o : m - 1;
  }
  /// Whether position i is an element of window o, which may cover it, and which.
  TP_HD bool holds(int64_t o, int64_t i, int64_t& element) const {
    element = i - start(o);
    if (d == 1) return true;  // most windows: no division
    const int64_t steps = quotient(element, d);
    if (steps * d != element) return false;
    element = steps;
    return true;
  }
  /// No position lies in two windows.
  TP_HD bool disjoint() const { return m == 1 || int64_t{d} * (k - 1) + 1 <= s; }
  /// Every position lies in exactly one window.
  TP_HD bool tiled() const { return k == s && d == 1 && p == 0 && n == m * k; }
  /// No window has an absent element.
  TP_HD bool full() const { return p == 0 && start(m - 1) + int64_t{d} * (k - 1) < n; }

 private:
  TP_HD int32_t before(int64_t o, int64_t end) const {
    const int64_t at = start(o), final_position = at + int64_t{d} * (k - 1);
    return final_position < end ? k : static_cast<int32_t>(quotient(end - 1 - at, d) + 1);
  }
};

/// A map's memory, as kernels see it.
struct MapLayout {
  int64_t outer = 1, inner = 1, channels = 1;
  /// Of a dense map of that shape and format.
  static MapLayout of(const Dims& shape, MemoryFormat format);
};

struct WindowGeometry {
  std::array<WindowAxis, 3> axis;
  MapLayout map;

  bool all(bool (WindowAxis::*test)() const) const {
    return (axis[0].*test)() && (axis[1].*test)() && (axis[2].*test)();
  }
  int64_t volume() const { return int64_t{axis[0].k} * axis[1].k * axis[2].k; }
  int64_t positions_in() const { return axis[0].n * axis[1].n * axis[2].n; }
  int64_t positions_out() const { return axis[0].m * axis[1].m * axis[2].m; }
};

/// The keys that every windowed operator has.
struct WindowOptions {
  PerAxis<int64_t> kernel = PerAxis<int64_t>::all(2), stride, padding = PerAxis<int64_t>::all(0),
                   dilation = PerAxis<int64_t>::all(1);
  bool ceil_mode = false;

  void keys(Keys& k);
  /// Those that a convolution has too: all but ceil_mode.
  void common_keys(Keys& k);
  /// The windows on a map of shape (N, C, spatial) of rank 1 to 3. Throws Error when they do not fit.
  std::array<WindowAxis, 3> axes(const char* op, const Dims& x) const;
  /// The map after it, straight through the rounding of n / stride.
  TracedShape trace(const char* op, const TracedShape& x) const;
};

/// (N, channels, m...) for the last `rank` axes of the geometry.
Dims pooled_shape(const Dims& x, int64_t channels, const std::array<WindowAxis, 3>& axes);

/// Throws Error when a spatial axis of x has no positions.
void expect_positions(const char* op, const Dims& x);
/// Throws Error when y would have more than 2^31 elements.
void expect_holdable(const char* op, const Dims& x, const Dims& y);
/// x's shape with channels and lengths of its spatial axes; throws Error as expect_holdable does.
Dims resized_shape(const char* op, const Dims& x, int64_t channels, const std::array<int64_t, 3>& lengths);

}  // namespace tidepool
