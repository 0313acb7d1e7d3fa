// Windows of many elements for operators of ranks. Window::rank counts a rank in k steps, k elements; from some k on a
// sort that gives all of them at once is faster: k log k a window. Ranks are the same, and what an operator computes of
// them is its own code, so that results are the same bit for bit. The CPU's: a GPU counts.
#pragma once
#if !defined(TP_DEVICE_PASS)
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/lanes.h"
#include "core/parallel.h"
#include "core/sums.h"
#include "layers/pool/window_walk.h"

namespace tidepool::window {

inline constexpr int64_t kMostCounted = 256;  ///< elements of a window whose ranks are counted

/// W with its ranks at hand where it has many elements.
template <class W>
class RankedWindow : public W {
 public:
  using V = typename W::Value;
  static constexpr bool kIsRanked = true;

  explicit RankedWindow(const W& window) : W(window) {
    if (this->real() > kMostCounted) sort();
  }
  TP_INLINE Ints<V> rank(V v, int32_t index) const {
    return ranks_.empty() ? W::rank(v, index) : ranks_[static_cast<size_t>(index)];
  }

 private:
  struct Element {
    Lane<V> value;
    int32_t index;
  };

  TP_NOINLINE void sort() {
    std::vector<Element> elements;
    elements.reserve(static_cast<size_t>(this->real()));
    ranks_.assign(static_cast<size_t>(this->volume()), splat_int<V>(0));  // NaN is before none, and none before it
    for (int l = 0; l < kLanes<V>; ++l) {
      elements.clear();
      this->exact(l).each([&](double v, int32_t index) {
        if (v == v) elements.push_back({static_cast<Lane<V>>(v), index});
      });
      std::sort(elements.begin(), elements.end(), [](const Element& a, const Element& b) {
        return a.value > b.value || (a.value == b.value && a.index < b.index);
      });
      for (size_t i = 0; i < elements.size(); ++i)
        set_lane(ranks_[static_cast<size_t>(elements[i].index)], l, static_cast<int32_t>(i));
    }
  }

  std::vector<Ints<V>> ranks_;  // by the elements' indices; none are sorted: empty
};

}  // namespace tidepool::window
#endif
