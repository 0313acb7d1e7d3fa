// A row of results takes two steps: the rows that it depends on are summed into a row in cache, whose positions are
// then summed along the width.
#include <algorithm>
#include <vector>

#include "core/cpu/tables.h"
#include "core/lanes.h"
#include "core/parallel.h"

namespace tidepool {
namespace {

using Term = AxisMap::Term;

// each_lane for a body that sets what it computes: the last vector overlaps the one before it, where there is one.
template <class A, class Body>
TP_INLINE void each_lane_set(int64_t count, const Body& body) {
  using V = typename detail::WideOf<A>::type;
  if (count < kLanes<V>) return each_lane<A>(0, count, body);
  int64_t lane = 0;
  for (; lane + kLanes<V> <= count; lane += kLanes<V>) body.template operator()<V>(lane);
  if (lane < count) body.template operator()<V>(count - kLanes<V>);
}

// to[i] = the sum over k terms of weight x from[term stride + i], i < count.
template <class A, size_t k, class S, class T>
TP_INLINE void sum_few(std::span<const Term> terms, const S* from, int64_t stride, T* to, int64_t count) {
  std::array<A, k> weight;
  std::array<const S*, k> source;
  for (size_t j = 0; j < k; ++j) {
    weight[j] = static_cast<A>(terms[j].weight);
    source[j] = from + terms[j].from * stride;
  }
  each_lane_set<A>(count, [=]<class V>(int64_t i) {
    V sum = splat<V>(weight[0]) * load<V>(source[0] + i);
    for (size_t j = 1; j < k; ++j) sum = sum + splat<V>(weight[j]) * load<V>(source[j] + i);
    store(to + i, sum);
  });
}
// The same of any number of terms.
template <class A, class S, class T>
void sum_terms(std::span<const Term> terms, const S* from, int64_t stride, T* to, int64_t count) {
  switch (terms.size()) {
    case 1:
      return sum_few<A, 1>(terms, from, stride, to, count);
    case 2:
      return sum_few<A, 2>(terms, from, stride, to, count);
    case 3:
      return sum_few<A, 3>(terms, from, stride, to, count);
    case 4:
      return sum_few<A, 4>(terms, from, stride, to, count);
    default:
      each_lane_set<A>(count, [=]<class V>(int64_t i) {
        V sum = splat<V>(0);
        for (const Term& t : terms)
          sum = sum + splat<V>(static_cast<A>(t.weight)) * load<V>(from + t.from * stride + i);
        store(to + i, sum);
      });
  }
}

// result[i] = the sum over its terms of weight x line[from].
template <class A>
void sum_positions(const AxisMap& map, const A* line, A* result) {
  const Term* term = map.terms.data();
  for (int64_t i = 0; i < map.m; ++i) {
    A sum = 0;
    for (const Term* end = map.terms.data() + map.starts[static_cast<size_t>(i + 1)]; term != end; ++term)
      sum += static_cast<A>(term->weight) * line[term->from];
    result[i] = sum;
  }
}

bool resize(const Tensor& x, const AxisMaps& maps, const Tensor& y) {
  if (y.numel() == 0) return true;
  const bool last = y.format() == MemoryFormat::channels_last;
  const int64_t inner = last ? x.size(1) : 1, outer = last ? x.size(0) : x.size(0) * x.size(1);
  const AxisMap &d = maps[0], &h = maps[1], &w = maps[2];
  const int64_t from_row = w.n * inner, to_row = w.m * inner, rows = outer * d.m * h.m;
  dispatch_floating(x.dtype(), "resize", [&]<class T>(T) {
    using A = Acc<T>;
    const T* from = x.data<T>();
    T* to = y.mutable_data<T>();
    const int64_t grain = std::max<int64_t>(1, 16384 / std::max(from_row, to_row));
    parallel_chunks(rows, grain, [&](int64_t begin, int64_t end) {
      std::vector<A> line(static_cast<size_t>(from_row)), result(static_cast<size_t>(inner > 1 ? 0 : to_row));
      std::vector<Term> terms;
      for (int64_t row = begin; row < end; ++row) {
        const int64_t image = row / (d.m * h.m);
        terms.clear();
        for (const Term& td : d.of(row / h.m % d.m))
          for (const Term& th : h.of(row % h.m))
            terms.push_back({(image * d.n + td.from) * h.n + th.from, td.weight * th.weight});
        sum_terms<A>(terms, from, from_row, line.data(), from_row);
        T* out = to + row * to_row;
        if (inner > 1) {
          for (int64_t i = 0; i < w.m; ++i) sum_terms<A>(w.of(i), line.data(), inner, out + i * inner, inner);
        } else {
          sum_positions(w, line.data(), result.data());
          each_lane_set<A>(to_row, [&]<class V>(int64_t i) { store(out + i, load<V>(result.data() + i)); });
        }
      }
    });
  });
  return true;
}

}  // namespace

const ResizeTable cpu::kResize{.name = "vector loops", .resize = resize};

}  // namespace tidepool
