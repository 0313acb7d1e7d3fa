// A resize is a linear map along each axis: an output is a weighted sum of a few positions. Its backward is the same
// kernel with the transposed maps, so every gradient is gathered in a fixed order. A row of results takes two steps:
// the rows that it depends on are summed into a row in cache, whose positions are then summed along the width.
// Gradients are set, not added.
#include "layers/resize.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>
#include <vector>

#include "core/lanes.h"
#include "core/parallel.h"
#include "core/tape.h"

namespace tidepool {

const char* name_of(ResizeMode mode) {
  return mode == ResizeMode::bilinear ? "bilinear" : "nearest";
}

namespace {

struct Term {
  int64_t from;
  double weight;
};

// One axis: result i is the sum of the terms [starts[i], starts[i + 1]), in order. `from` rises.
struct AxisMap {
  int64_t n, m;  // positions in, results
  std::vector<int64_t> starts{0};
  std::vector<Term> terms;

  AxisMap(int64_t in, int64_t out) : n(in), m(out) {}
  void add(std::initializer_list<Term> of_result) {
    terms.insert(terms.end(), of_result);
    starts.push_back(static_cast<int64_t>(terms.size()));
  }
  std::span<const Term> of(int64_t i) const {
    const int64_t begin = starts[static_cast<size_t>(i)], end = starts[static_cast<size_t>(i + 1)];
    return std::span(terms).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  }
  AxisMap transposed() const {
    AxisMap t(m, n);
    std::vector<std::vector<Term>> readers(static_cast<size_t>(n));
    for (int64_t i = 0; i < m; ++i)
      for (const Term& term : of(i)) readers[static_cast<size_t>(term.from)].push_back({i, term.weight});
    for (const std::vector<Term>& r : readers) {
      t.terms.insert(t.terms.end(), r.begin(), r.end());
      t.starts.push_back(static_cast<int64_t>(t.terms.size()));
    }
    return t;
  }
};

AxisMap axis_map(int64_t n, int64_t m, ResizeMode mode) {
  AxisMap map(n, m);
  for (int64_t o = 0; o < m; ++o) {
    if (mode == ResizeMode::nearest) {
      map.add({{o * n / m, 1.0}});
      continue;
    }
    // ((o + 1/2) n / m - 1/2) in units of 1 / 2m, in whole numbers.
    const int64_t at = std::max<int64_t>(0, (2 * o + 1) * n - m), low = at / (2 * m), rest = at % (2 * m);
    const double fraction = static_cast<double>(rest) / static_cast<double>(2 * m);
    if (rest == 0 || low + 1 >= n)
      map.add({{low, 1.0}});
    else
      map.add({{low, 1.0 - fraction}, {low + 1, fraction}});
  }
  return map;
}

// The maps of the axes D, H and W; an absent axis has length 1.
using AxisMaps = std::array<AxisMap, 3>;
AxisMaps axis_maps(const Dims& x, const Dims& size, ResizeMode mode) {
  const auto axis = [&](int i) {
    const int at = i - (3 - size.rank());
    return at < 0 ? axis_map(1, 1, ResizeMode::nearest) : axis_map(x[2 + at], size[at], mode);
  };
  return {axis(0), axis(1), axis(2)};
}

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

// y of x by the maps of the axes; both are dense in `format`.
Tensor mapped(const Tensor& x, MemoryFormat format, const AxisMaps& maps, const Dims& shape) {
  const Tensor y = Tensor::empty(shape, {.dtype = x.dtype(), .format = format});
  if (y.numel() == 0) return y;
  const bool last = format == MemoryFormat::channels_last;
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
  return y;
}

}  // namespace

Tensor resize(const Tensor& x, const Dims& size, ResizeMode mode) {
  if (x.rank() < 3) throw Error("[resize] expected an input N x C x spatial, got the shape {}", x.shape().str());
  if (!is_floating(x.dtype()))
    throw Error("[resize] expected an input of f32, f64 or bf16, got {}", name_of(x.dtype()));
  if (size.rank() != x.rank() - 2)
    throw Error("[resize] expected a size of {} lengths for an input of shape {}, got {}", x.rank() - 2,
                x.shape().str(), size.str());
  Dims shape = x.shape();
  for (int i = 0; i < size.rank(); ++i) {
    if (size[i] < 1) throw Error("[resize] expected lengths of 1 or more, got the size {}", size.str());
    if (x.size(2 + i) < 1) throw Error("[resize] an input of shape {} has no positions", x.shape().str());
    shape[2 + i] = size[i];
  }
  if (x.device() != kCpu) throw Failure("resize on cuda is not supported");
  if (shape == x.shape()) return x;
  const Tensor in = x.contiguous();
  const Tensor y = mapped(in, in.format(), axis_maps(x.shape(), size, mode), shape);
  const Dims x_shape = x.shape();
  const MemoryFormat format = in.format();
  Tape::record("resize", {x}, {y}, {}, [x_shape, size, mode, format](BackwardContext& ctx) {
    AxisMaps maps = axis_maps(x_shape, size, mode);
    for (AxisMap& map : maps) map = map.transposed();
    ctx.dx(0) = mapped(ctx.dy().contiguous(format), format, maps, x_shape);
  });
  return y;
}

}  // namespace tidepool
