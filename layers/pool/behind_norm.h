// Windows of a map whose batch norm and activation are not written (layers/fused/normed_map.h): the rows of a window
// are normed into a scratch that stays in cache, where the plain kernel reads them. On the way back the sums that the
// norm wants of the gradient are taken while it is in cache too. The CPU's, channels-last.
#pragma once
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/cpu/norm_rows.h"
#include "layers/pool/window_walk.h"

namespace tidepool::window {

/// A kernel by itself.
struct Plainly {
  template <class Kernel>
  const Kernel& operator()(const Kernel& kernel) const {
    return kernel;
  }
};

/// The norm of a map that is not written. Undefined constants: there is none.
struct Unwritten {
  Tensor constants;  ///< as core/backend/norm.h has them, f32 [3, C]
  Act act = Act::none;
  Tensor* sums = nullptr;  ///< backward: set to the reductions that the norm wants of dx, where they are taken
};

/// Whether kernels can read through a norm: rows of windows are runs of whole rows of a 2-D channels-last map, and no
/// two have a row in common.
inline bool reads_behind_norm(const WindowGeometry& g) {
  const WindowAxis& h = g.axis[1];
  return g.map.inner == g.map.channels && g.axis[0].n == 1 && g.axis[0].k == 1 && h.d == 1 &&
         g.all(&WindowAxis::full) && g.all(&WindowAxis::disjoint);
}

/// The map's elements that a row of windows reads: from the first on, `count`; with `margin` rows of pixels on either
/// side of the windows where the map has them.
struct RowSpan {
  int64_t first, count;
  RowSpan(const WindowGeometry& g, int64_t row, int64_t margin = 0) {
    const WindowAxis& h = g.axis[1];
    const int64_t elements = g.axis[2].n * g.map.inner, start = h.start(row % h.m);
    const int64_t begin = std::max<int64_t>(0, start - margin), end = std::min<int64_t>(h.n, start + h.k + margin);
    first = (row / h.m * h.n + begin) * elements;
    count = (end - begin) * elements;
  }
};

/// A kernel of rows of windows that reads x behind a norm; as(kernel) is what runs. T: f32 or bf16.
template <class Kernel, class T, class As = Plainly>
class BehindNorm {
 public:
  /// margin: rows of pixels that the kernel reads on either side of its windows. norm outlives it.
  BehindNorm(const Kernel& kernel, const WindowGeometry& g, const Unwritten& norm, const As& as = {},
             int64_t margin = 0)
      : kernel_(kernel),
        as_(as),
        g_(g),
        constants_(norm.constants.data<float>()),
        act_(norm.act),
        margin_(margin),
        most_((g.axis[1].k + 2 * margin) * g.axis[2].n * g.map.inner),
        scratch_(Tensor::empty({omp_get_max_threads(), most_}, {.dtype = DTypeOf<T>::value})) {}

  void rows(int64_t begin, int64_t end, int64_t lanes) const {
    T* const normed = scratch_.mutable_data<T>() + omp_get_thread_num() * most_;
    Kernel one = kernel_;
    for (int64_t row = begin; row < end; ++row) {
      const RowSpan span(g_, row, margin_);
      norm::apply_rows(kernel_.x + span.first, span.count / g_.map.inner, g_.map.inner, constants_, act_, normed);
      // As an integer: the map that this pointer stands for begins outside the scratch.
      one.x = reinterpret_cast<const T*>(reinterpret_cast<uintptr_t>(normed) -
                                         static_cast<uintptr_t>(span.first) * sizeof(T));
      const auto& runs = as_(one);
      if constexpr (requires { runs.rows(row, row + 1, lanes); })
        runs.rows(row, row + 1, lanes);
      else
        runs(row, int64_t{0}, lanes);
    }
  }

 private:
  Kernel kernel_;
  As as_;
  WindowGeometry g_;
  const float* constants_;
  Act act_;
  int64_t margin_, most_;
  Tensor scratch_;  // [threads, most_]
};

/// A kernel of windows that writes all of dx, and takes the sums that a norm wants of it: f64 [2, C] per chunk of
/// `grain` rows.
template <class Kernel, class T>
struct WithSums {
  Kernel kernel;
  WindowGeometry g;
  const T *x, *dx;
  const float* constants;
  Act act;
  double* sums;
  int64_t grain;

  void rows(int64_t begin, int64_t end, int64_t lanes) const {
    kernel.rows(begin, end, lanes);
    const RowSpan from(g, begin), last(g, end - 1);
    const int64_t channels = g.map.inner, positions = (last.first + last.count - from.first) / channels;
    norm::gradient_sums_of_rows(x + from.first, dx + from.first, positions, channels, constants, act,
                                sums + begin / grain * 2 * channels);
  }
};

}  // namespace tidepool::window
