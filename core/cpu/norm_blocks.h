// What the loops of a batch norm share: over its map (norm.cpp) and over a few rows in cache (norm_rows.cpp).
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "core/backend/norm.h"
#include "core/cpu/norm_formula.h"

namespace tidepool::norm {

/// Rows of channels-last maps that are summed in f32.
inline int64_t sum_run(int64_t channels) {
  return std::clamp<int64_t>(32768 / std::max<int64_t>(1, channels), 16, 256);
}

/// Calls body.operator()<V>(c) so that [begin, end) is covered: vectors, one half of a vector of 16, scalars. Channels
/// are often a multiple of 8 and not of 16, and an exponential in 8 scalars takes as long as in 8 vectors.
template <class A, class Body>
TP_INLINE void each_vector(int64_t begin, int64_t end, const Body& body) {
  using V = typename tidepool::detail::WideOf<A>::type;
  int64_t c = begin;
  for (; c + kLanes<V> <= end; c += kLanes<V>) body.template operator()<V>(c);
  if constexpr (std::is_same_v<A, float> && 8 < kLanes<V>) {
    using Half = tidepool::detail::VectorOf<float, 8>::type;
    if (c + kLanes<Half> <= end) body.template operator()<Half>(std::exchange(c, c + kLanes<Half>));
  }
  for (; c < end; ++c) body.template operator()<A>(c);
}

/// Calls body.operator()<V, B>(c) for B neighbouring vectors (or fewer) from channel c on, so that constants stay in
/// registers.
template <class A, int B, class Body>
TP_INLINE void each_block(int64_t count, Body&& body) {
  using V = typename tidepool::detail::WideOf<A>::type;
  int64_t c = 0;
  for (; c + B * kLanes<V> <= count; c += B * kLanes<V>) body.template operator()<V, B>(c);
  if constexpr (B > 2)
    if (c + 2 * kLanes<V> <= count) body.template operator()<V, 2>(std::exchange(c, c + 2 * kLanes<V>));
  each_vector<A>(c, count, [&]<class W>(int64_t at) { body.template operator()<W, 1>(at); });
}

/// Calls body(k, row, c) for every vector of rows [begin, end), in the order of memory; k = constants.operator()<V>(c).
/// Where a row is one, two or four vectors, its constants stay in registers.
template <class A, class Constants, class Body>
TP_INLINE void each_in_order(int64_t begin, int64_t end, int64_t channels, const Constants& constants,
                             const Body& body) {
  using V = typename tidepool::detail::WideOf<A>::type;
  const auto kept = [&]<int B>(std::integral_constant<int, B>) {
    decltype(constants.template operator()<V>(0)) k[B];
    for (int b = 0; b < B; ++b) k[b] = constants.template operator()<V>(b * kLanes<V>);
    for (int64_t row = begin; row < end; ++row)
      for (int b = 0; b < B; ++b) body(k[b], row, b * kLanes<V>);
  };
  switch (channels) {
    case kLanes<V>:
      return kept(std::integral_constant<int, 1>{});
    case 2 * kLanes<V>:
      return kept(std::integral_constant<int, 2>{});
    case 4 * kLanes<V>:
      return kept(std::integral_constant<int, 4>{});
    default:
      for (int64_t row = begin; row < end; ++row)
        each_vector<A>(0, channels, [&]<class W>(int64_t c) { body(constants.template operator()<W>(c), row, c); });
  }
}

/// Calls f with the activation's formula.
template <class F>
void with_activation(Act act, const F& f) {
  switch (act) {
    case Act::none:
      return f(Identity{});
    case Act::relu:
      return f(Relu{});
    case Act::relu6:
      return f(Relu6{});
    case Act::silu:
      return f(Silu{});
    default:
      throw Error("[batch_norm] expected the activation none, relu, relu6 or silu, got {}", name_of(act));
  }
}

}  // namespace tidepool::norm
