// Channels-last: a vector is a run of channels; plain: a vector is a run of positions. The gradient of s is summed in
// f32 over runs of positions and over the runs in f64, both in order. Gradients are set, not added.
#include "layers/gate.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "core/lanes.h"
#include "core/nontemporal.h"
#include "core/parallel.h"
#include "core/tape.h"

namespace tidepool {
namespace {

struct MapView {
  int64_t images, channels, positions = 1;
  bool channels_last;

  MapView(const Tensor& x, MemoryFormat format)
      : images(x.size(0)), channels(x.size(1)), channels_last(format == MemoryFormat::channels_last) {
    for (int i = 2; i < x.rank(); ++i) positions *= x.size(i);
    channels_last = channels_last || positions == 1;
  }
  // Channels-last positions of an image that are summed in the accumulation type, and the number of such runs.
  int64_t run() const { return std::clamp<int64_t>(16384 / std::max<int64_t>(1, channels), 16, 256); }
  int64_t runs() const { return (positions + run() - 1) / run(); }
};

// y = x s over all positions. kStream: y bypasses the caches.
template <bool kStream, class T>
void multiply(const MapView& m, const T* x, const T* s, T* y) {
  using A = Acc<T>;
  const int64_t channels = m.channels, positions = m.positions;
  if (m.channels_last) {
    parallel_chunks(m.images * positions, std::max<int64_t>(1, 16384 / channels), [=](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T *from = x + row * channels, *factor = s + row / positions * channels;
        T* to = y + row * channels;
        each_lane<A>(0, channels,
                     [=]<class V>(int64_t c) { put<kStream>(to + c, load<V>(from + c) * load<V>(factor + c)); });
      }
      if (kStream) finish_streams();
    });
    return;
  }
  parallel_chunks(m.images * channels, std::max<int64_t>(1, 16384 / positions), [=](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const A factor = static_cast<A>(s[row]);
      each_lane<A>(row * positions, positions,
                   [=]<class V>(int64_t i) { put<kStream>(y + i, load<V>(x + i) * splat<V>(factor)); });
    }
    if (kStream) finish_streams();
  });
}
template <class T>
void multiply(const MapView& m, const T* x, const T* s, T* y) {
  const int64_t count = m.images * m.channels * m.positions;
  if (count == 0) return;
  if (streams<typename detail::WideOf<Acc<T>>::type>(y, count, m.channels_last ? m.channels : m.positions))
    multiply<true>(m, x, s, y);
  else
    multiply<false>(m, x, s, y);
}

// Channels-last rows [begin, end) of one image: dx = dy s (when kDx) and sums[C] (set) of dy x. The sums stay in the
// first-level cache, so that the maps are read in the order of memory; four rows at a time share the access to them.
template <bool kDx, class T>
void backward_rows(const T* x, const T* dy, const T* s, T* dx, int64_t begin, int64_t end, int64_t channels,
                   Acc<T>* sums) {
  using A = Acc<T>;
  std::fill_n(sums, channels, A{0});
  const auto rows = [=]<int kRows>(int64_t row, std::integral_constant<int, kRows>) {
    const int64_t at = row * channels;
    each_lane<A>(0, channels, [=]<class V>(int64_t c) {
      [[maybe_unused]] V factor = {};
      if constexpr (kDx) factor = load<V>(s + c);
      V sum = load<V>(sums + c);
      for (int i = 0; i < kRows; ++i) {
        const V g = load<V>(dy + at + i * channels + c);
        if constexpr (kDx) store(dx + at + i * channels + c, g * factor);
        sum = sum + g * load<V>(x + at + i * channels + c);
      }
      store(sums + c, sum);
    });
  };
  int64_t row = begin;
  for (; row + 4 <= end; row += 4) rows(row, std::integral_constant<int, 4>{});
  for (; row < end; ++row) rows(row, std::integral_constant<int, 1>{});
}

// The positions of one plain channel: dx = dy s (when kDx); returns the sum of dy x.
template <bool kDx, class T>
double backward_channel(const T* x, const T* dy, Acc<T> s, T* dx, int64_t positions) {
  using A = Acc<T>;
  using Wide = typename detail::WideOf<A>::type;
  constexpr int64_t kRun = 4096;
  double sum = 0;
  for (int64_t start = 0; start < positions; start += kRun) {
    Wide many = {};
    A one = 0;
    each_lane<A>(start, std::min(kRun, positions - start), [&]<class V>(int64_t i) {
      const V g = load<V>(dy + i);
      if constexpr (kDx) store(dx + i, g * splat<V>(s));
      if constexpr (kLanes<V> == 1)
        one = one + g * load<V>(x + i);
      else
        many = many + g * load<V>(x + i);
    });
    for (int l = 0; l < kLanes<Wide>; ++l) sum += static_cast<double>(many[l]);
    sum += static_cast<double>(one);
  }
  return sum;
}

// ds (set), and dx = dy s when dx is not null.
template <class T>
void backward(const MapView& m, const T* x, const T* s, const T* dy, T* dx, T* ds) {
  using A = Acc<T>;
  const int64_t channels = m.channels, positions = m.positions;
  if (m.images * channels == 0) return;
  if (m.channels_last) {
    const int64_t run = m.run(), runs = m.runs();
    std::vector<A> parts(static_cast<size_t>(m.images * runs * channels));
    A* part = parts.data();
    parallel_chunks(m.images * runs, 1, [=](int64_t index, int64_t) {
      const int64_t image = index / runs, begin = index % runs * run;
      const int64_t first = image * positions + begin, end = first + std::min(run, positions - begin);
      if (dx)
        backward_rows<true>(x, dy, s + image * channels, dx, first, end, channels, part + index * channels);
      else
        backward_rows<false>(x, dy, s, dx, first, end, channels, part + index * channels);
    });
    parallel_chunks(m.images * channels, 1024, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        double sum = 0;
        for (int64_t j = 0; j < runs; ++j)
          sum += static_cast<double>(part[(i / channels * runs + j) * channels + i % channels]);
        ds[i] = static_cast<T>(static_cast<A>(sum));
      }
    });
    return;
  }
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, positions));
  parallel_chunks(m.images * channels, grain, [=](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * positions;
      const double sum = dx ? backward_channel<true>(x + at, dy + at, static_cast<A>(s[row]), dx + at, positions)
                            : backward_channel<false>(x + at, dy + at, A{0}, dx, positions);
      ds[row] = static_cast<T>(static_cast<A>(sum));
    }
  });
}

}  // namespace

Tensor gate(const Tensor& x, const Tensor& s) {
  if (x.rank() < 3) throw Error("[gate] expected a map N x C x spatial, got the shape {}", x.shape().str());
  if (!is_floating(x.dtype())) throw Error("[gate] expected a map of f32, f64 or bf16, got {}", name_of(x.dtype()));
  Dims one_position = Dims::filled(x.rank(), 1);
  one_position[0] = x.size(0);
  one_position[1] = x.size(1);
  if (s.shape() != Dims{x.size(0), x.size(1)} && s.shape() != one_position)
    throw Error("[gate] expected a gate {}x{} or {} for a map of shape {}, got the shape {}", x.size(0), x.size(1),
                one_position.str(), x.shape().str(), s.shape().str());
  if (s.dtype() != x.dtype())
    throw Error("[gate] expected a gate of {}, as the map, got {}", name_of(x.dtype()), name_of(s.dtype()));
  if (x.device() != kCpu || s.device() != kCpu) throw Failure("gate on cuda is not supported");
  const Tensor in = x.contiguous(), factors = s.contiguous(MemoryFormat::plain);
  const MemoryFormat format = in.format();
  const Tensor y = Tensor::empty(x.shape(), in.options());
  dispatch_floating(x.dtype(), "gate", [&]<class T>(T) {
    multiply(MapView(in, format), in.data<T>(), factors.data<T>(), y.mutable_data<T>());
  });
  // The gradient of one input takes the other input.
  const Tensor kept_x = Tape::wants({s}) ? in : Tensor(), kept_s = Tape::wants({x}) ? factors : Tensor();
  const Dims s_shape = s.shape();
  Tape::record("gate", {x, s}, {y}, {kept_x, kept_s}, [format, s_shape](BackwardContext& ctx) {
    const Tensor dy = ctx.dy().contiguous(format);
    const MapView map(dy, format);
    if (ctx.needs(0)) ctx.dx(0) = Tensor::empty(dy.shape(), {.dtype = dy.dtype(), .format = format});
    if (ctx.needs(1)) ctx.dx(1) = Tensor::empty(s_shape, {.dtype = dy.dtype()});
    dispatch_floating(dy.dtype(), "gate", [&]<class T>(T) {
      const T* factor = ctx.needs(0) ? ctx.saved(1).data<T>() : nullptr;
      T* dx = ctx.needs(0) ? ctx.dx(0).mutable_data<T>() : nullptr;
      if (ctx.needs(1))
        backward<T>(map, ctx.saved(0).data<T>(), factor, dy.data<T>(), dx, ctx.dx(1).mutable_data<T>());
      else
        multiply(map, dy.data<T>(), factor, dx);
    });
  });
  return y;
}

}  // namespace tidepool
