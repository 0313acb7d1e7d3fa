// The gradients of a windowed operator's learned parameters, summed over windows.
#pragma once
#include "layers/pool/window_operator.h"

namespace tidepool {

namespace window {

/// Sums of a number's gradient over windows: for each chunk of rows of outputs, in f64, `slots` partial sums for each
/// of its elements. Chunks depend on shapes alone, so that the sums do not depend on the number of threads.
struct NumberSums {
  static constexpr int64_t kSlots = 16;  ///< lanes of one unit that are summed apart
  double* sums = nullptr;                ///< [chunks][count][slots]; null: not wanted
  int64_t count = 1, slots = 1;
};

template <class Op, class T, bool kLanesAlongWidth>
struct NumberBackward {
  static constexpr int kNumbers = number_count<Op>();
  Op op;
  Numbers<kNumbers> numbers;
  WindowGeometry g;
  const T *x, *dy;
  int64_t rows, rows_per_chunk;
  NumberSums wanted[kNumbers];

  TP_HD void operator()(int64_t chunk, int64_t /*lane*/, int64_t /*count*/) const {
    for (int k = 0; k < kNumbers; ++k)
      if (wanted[k].sums)
        for (int64_t i = 0, n = wanted[k].count * wanted[k].slots; i < n; ++i) wanted[k].sums[chunk * n + i] = 0;
    const int64_t end = (chunk + 1) * rows_per_chunk < rows ? (chunk + 1) * rows_per_chunk : rows;
    for (int64_t row = chunk * rows_per_chunk; row < end; ++row)
      walk<Form::any, kLanesAlongWidth>(g, numbers.all, x, RowPosition(g, row), 0,
                                        g.axis[2].m * (kLanesAlongWidth ? 1 : g.map.inner),
                                        [&](const auto& plain, int64_t out) {
                                          const auto& window = seen_by<Op>(plain);
                                          using V = typename std::decay_t<decltype(window)>::Value;
                                          const auto p = op.template reduce<V>(window);
                                          const V gradient = load<V>(dy + out);
                                          if constexpr (may_overflow<Op, V>())
                                            if (!all_finite(sum_of(p))) return add_exact(plain, gradient, chunk);
                                          op.template backward_numbers<V>(window, p, [&](int k, auto j, V slope) {
                                            const NumberSums& s = wanted[k];
                                            if (!s.sums) return;
                                            const Per per = numbers.all[k].per;
                                            const int64_t unit = window.unit(per) * (window.spread(per) ? 1 : s.kSlots);
                                            double* const sums = s.sums + chunk * s.count * s.slots + unit;
                                            V term = gradient * slope;
                                            if constexpr (may_overflow<Op, V>())
                                              if (!all_finite(term)) {
                                                add_exact(plain, gradient, chunk, k, j);
                                                term = splat<V>(0);
                                              }
                                            if constexpr (std::is_integral_v<decltype(j)>)
                                              add_widened<V>(sums + j * s.slots, term);
                                            else
                                              add_lanes<V>(sums, j, s.slots, term);
                                          });
                                        });
  }

 private:
  /// Adds in f64 what a window gives, a lane at a time; to element `only_j` of number `only` alone where one is named.
  template <class W, class J = int32_t>
  TP_HD TP_COLD void add_exact(const W window, const typename W::Value gradient, int64_t chunk, int only = -1,
                               J only_j = {}) const {
    for (int l = 0; l < kLanes<typename W::Value>; ++l) {
      const auto plain = window.exact(l);
      const auto& one = seen_by<Op>(plain);
      int64_t wanted_j;
      if constexpr (std::is_integral_v<J>)
        wanted_j = only_j;
      else
        wanted_j = only_j[l];
      const auto p = op.template reduce<double>(one);
      const auto of_lane = static_cast<double>(get_lane(gradient, l));
      op.template backward_numbers<double>(one, p, [&](int k, int64_t j, double slope) {
        const NumberSums& s = wanted[k];
        if (!s.sums || (only >= 0 && (k != only || j != wanted_j))) return;
        const Per per = numbers.all[k].per;
        const int64_t unit = window.spread(per) ? one.unit(per) : one.unit(per) * s.kSlots + l;
        s.sums[chunk * s.count * s.slots + j * s.slots + unit] += of_lane * slope;
      });
    }
  }
};

}  // namespace window

}  // namespace tidepool
