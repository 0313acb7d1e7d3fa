// Sums over a row of elements: by one thread in vectors on the CPU, by a warp on a GPU. In f64, in a fixed order.
#pragma once
#include <cstdint>

#include "core/device.h"
#include "core/lanes.h"
#include "core/sums.h"

namespace tidepool {

/// each_lane by runs: calls body.template operator()<V, vectors>(lane) for as many vectors side by side, so that what
/// is the same for all lanes is computed once per run.
template <class A, class Body>
TP_HD TP_INLINE void each_run_of_lanes(int64_t first, int64_t count, const Body& body) {
#if !defined(TP_DEVICE_PASS)
  using V = typename detail::WideOf<A>::type;
  constexpr int kRun = 4;
  for (; count >= kRun * kLanes<V>; first += kRun * kLanes<V>, count -= kRun * kLanes<V>)
    body.template operator()<V, kRun>(first);
#endif
  each_lane<A>(first, count, [&]<class W>(int64_t lane) { body.template operator()<W, 1>(lane); });
}

/// Sums in f64 what lanes hold.
template <class V>
struct LaneSum {
  using Sum = Doubles<V>;
  Sum sum = Sum{};

  TP_HD TP_INLINE void add(V v) { sum += widen(v); }
  TP_HD TP_INLINE double total() const {
    if constexpr (kLanes<V> == 1) {
      return sum;
    } else {
      double t = 0;
#if !defined(TP_DEVICE_PASS)
      for (int i = 0; i < kLanes<V>; ++i) t += sum[i];
#endif
      return t;
    }
  }
};

/// n sums in f64 of what each_lane's body has, in vectors and in single lanes.
template <class A, int n = 1>
class TP_TYPE_OF_PASS LaneSums {
 public:
  template <class V>
  TP_HD TP_INLINE void add(V v, int i = 0) {
    if constexpr (kLanes<V> == 1) {
      one_[i].add(v);
    } else {
#if !defined(TP_DEVICE_PASS)
      many_[i].add(v);
#endif
    }
  }
  TP_HD TP_INLINE double total(int i = 0) const {
#if defined(TP_DEVICE_PASS)
    return one_[i].total();
#else
    return one_[i].total() + many_[i].total();
#endif
  }

 private:
  LaneSum<A> one_[n];
#if !defined(TP_DEVICE_PASS)
  LaneSum<typename detail::WideOf<A>::type> many_[n];
#endif
};

/// What of a row of outputs a thread takes where its sums are one: on a GPU every 32nd element, on the CPU all.
struct TP_TYPE_OF_PASS Share {
  int64_t first = 0, step = 1;

  TP_HD TP_INLINE static Share of_positions([[maybe_unused]] int64_t lane, [[maybe_unused]] int64_t inner) {
#if defined(TP_WARPS)
    if (inner == 1) return {lane, kWarp};
#endif
    return {};
  }
  TP_HD TP_INLINE static Share of_channels([[maybe_unused]] int64_t lane, [[maybe_unused]] int64_t inner) {
#if defined(TP_WARPS)
    if (inner > 1) return {lane, kWarp};
#endif
    return {};
  }
  static constexpr int64_t kWarp = 32;
};

/// Lanes of such a row for parallel_rows.
inline int64_t threads_per_row(Device device) {
  return device.kind == DeviceKind::cuda ? Share::kWarp : 1;
}

/// each_run_of_lanes over a thread's share of `count` elements.
template <class A, class Body>
TP_HD TP_INLINE void each_run_of_share([[maybe_unused]] const Share& share, int64_t count, const Body& body) {
#if defined(TP_WARPS)
  for (int64_t i = share.first; i < count; i += share.step) body.template operator()<A, 1>(i);
#else
  each_run_of_lanes<A>(0, count, body);
#endif
}
/// each_lane likewise.
template <class A, class Body>
TP_HD TP_INLINE void each_lane_of_share(const Share& share, int64_t count, const Body& body) {
  each_run_of_share<A>(share, count, [&]<class V, int vectors>(int64_t first) {
    for (int i = 0; i < vectors; ++i) body.template operator()<V>(first + i * kLanes<V>);
  });
}

/// The sum over the threads that share a row, the same in each of them.
TP_HD TP_INLINE double sum_of_row(double sum) {
#if defined(TP_WARPS)
  for (int step = Share::kWarp / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
#endif
  return sum;
}

}  // namespace tidepool
