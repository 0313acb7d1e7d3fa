// Sums, gates, joins and random masks of dense maps. Gates: of channels-last maps a vector is a run of channels, of
// plain ones a run of positions; the gradient of s is summed in the accumulation type over runs of positions and over
// the runs in f64, both in order.
#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "core/cpu/elements.h"
#include "core/cpu/tables.h"
#include "core/lanes.h"
#include "core/philox.h"

namespace tidepool {
namespace {

bool add_maps(const Tensor& a, const Tensor& b, const Tensor& y) {
  dispatch_floating(a.dtype(), "add", [&]<class T>(T) {
    const T *pa = a.data<T>(), *pb = b.data<T>();
    set_elements<true>(y.mutable_data<T>(), a.numel(),
                       [=]<class V>(int64_t i) { return load<V>(pa + i) + load<V>(pb + i); });
  });
  return true;
}

// -- gate ------------------------------------------------------------------------------------------------------------

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

bool gate(const Tensor& x, const Tensor& s, const Tensor& y) {
  dispatch_floating(x.dtype(), "gate", [&]<class T>(T) {
    multiply(MapView(x, x.format()), x.data<T>(), s.data<T>(), y.mutable_data<T>());
  });
  return true;
}

bool backward_of_gate(const Tensor& x, const Tensor& s, const Tensor& dy, const Tensor& dx, const Tensor& ds) {
  dispatch_floating(dy.dtype(), "gate", [&]<class T>(T) {
    backward<T>(MapView(dy, dy.format()), x.data<T>(), dx ? s.data<T>() : nullptr, dy.data<T>(),
                dx ? dx.mutable_data<T>() : nullptr, ds.mutable_data<T>());
  });
  return true;
}

// -- concat ----------------------------------------------------------------------------------------------------------

// Dense memory seen as rows of neighbouring parts, one per input: a row is a position (channels-last) or an image.
struct RowParts {
  int64_t rows = 1;
  std::vector<int64_t> starts{0};  // in bytes; the last is the length of a row

  RowParts(const Tensor& y, MemoryFormat format, std::span<const int64_t> channels) {
    int64_t positions = 1;
    for (int i = 2; i < y.rank(); ++i) positions *= y.size(i);
    const bool last = format == MemoryFormat::channels_last;
    rows = last ? y.size(0) * positions : y.size(0);
    const int64_t bytes = static_cast<int64_t>(size_of(y.dtype())) * (last ? 1 : positions);
    for (int64_t c : channels) starts.push_back(starts.back() + c * bytes);
  }

  // Copies between y and the parts; the data of a part may be null: it is left out.
  template <bool kJoin>
  void copy(char* y, std::span<char* const> parts) const {
    const int64_t length = starts.back();
    parallel_chunks(rows * length, 65536, [&](int64_t begin, int64_t end) {
      int64_t row = begin / length, at = begin % length;
      for (; begin < end; ++row, at = 0) {
        for (size_t i = 0; i < parts.size() && begin < end; ++i) {
          if (at >= starts[i + 1]) continue;
          const int64_t size = starts[i + 1] - starts[i], count = std::min(starts[i + 1] - at, end - begin);
          if (parts[i]) {
            char *part = parts[i] + row * size + (at - starts[i]), *joined = y + begin;
            std::memcpy(kJoin ? joined : part, kJoin ? part : joined, static_cast<size_t>(count));
          }
          at += count;
          begin += count;
        }
      }
    });
  }
};

// const_cast: copy<true> reads the parts, copy<false> reads y.
char* bytes_of(const Tensor& t) {
  return const_cast<char*>(static_cast<const char*>(t.raw()));
}

bool concat(std::span<const Tensor> inputs, const Tensor& y) {
  std::vector<int64_t> channels;
  std::vector<char*> parts;
  for (const Tensor& x : inputs) {
    channels.push_back(x.size(1));
    parts.push_back(bytes_of(x));
  }
  RowParts(y, y.format(), channels).copy<true>(static_cast<char*>(y.mutable_raw()), parts);
  return true;
}

bool split(const Tensor& y, std::span<const int64_t> channels, std::span<const Tensor> parts) {
  std::vector<char*> to;
  for (const Tensor& part : parts) to.push_back(part ? static_cast<char*>(part.mutable_raw()) : nullptr);
  RowParts(y, y.format(), channels).copy<false>(bytes_of(y), to);
  return true;
}

// -- random masks ----------------------------------------------------------------------------------------------------

// Four neighbours share a Philox block.
bool dropout(const Tensor& x, const MaskDraw& draw, const Tensor& y) {
  const int64_t channels = x.rank() > 1 ? x.size(1) : 1;
  int64_t positions = 1;
  for (int i = 2; i < x.rank(); ++i) positions *= x.size(i);
  const bool last = x.format() == MemoryFormat::channels_last || positions == 1;
  dispatch_floating(x.dtype(), "dropout", [&]<class T>(T) {
    using A = Acc<T>;
    const T* from = x.data<T>();
    T* to = y.mutable_data<T>();
    const A scale = static_cast<A>(1.0 / (1.0 - draw.p));
    const uint64_t stream = kDropoutStream ^ step_of(draw);
    parallel_chunks(x.numel(), 4096, [=](int64_t begin, int64_t end) {
      std::array<uint32_t, 4> words{};
      for (int64_t i = begin; i < end; ++i) {
        const auto index = static_cast<uint64_t>(i);
        if (index % 4 == 0 || i == begin) words = random_words(draw.seed, stream, index / 4);
        const A factor = static_cast<double>(uniform24(words[index % 4])) >= draw.p ? scale : A{0};
        int64_t at = i;
        if (!last) {
          const int64_t row = i / channels, image = row / positions;
          at = (image * channels + i % channels) * positions + row % positions;
        }
        to[at] = static_cast<T>(static_cast<A>(from[at]) * factor);
      }
    });
  });
  return true;
}

// Of image n: whether it is kept.
bool keeps(const MaskDraw& draw, int64_t n) {
  const auto number = static_cast<uint64_t>(n);
  const auto words = random_words(draw.seed, kStochasticDepthStream ^ step_of(draw), number / 4);
  return static_cast<double>(uniform24(words[number % 4])) >= draw.p;
}

// In either format an image is a run of memory.
bool stochastic_depth(const Tensor& x, const MaskDraw& draw, const Tensor& y) {
  if (x.numel() == 0) return true;
  const int64_t size = x.numel() / x.size(0);
  dispatch_floating(x.dtype(), "stochastic_depth", [&]<class T>(T) {
    using A = Acc<T>;
    const T* from = x.data<T>();
    T* to = y.mutable_data<T>();
    const A scale = static_cast<A>(1.0 / (1.0 - draw.p));
    parallel_chunks(x.numel(), 16384, [=](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t image = begin / size, count = std::min(end, (image + 1) * size) - begin;
        const A factor = keeps(draw, image) ? scale : A{0};
        each_lane<A>(begin, count, [=]<class V>(int64_t i) { store(to + i, load<V>(from + i) * splat<V>(factor)); });
        begin += count;
      }
    });
  });
  return true;
}

}  // namespace

const ElementwiseTable cpu::kElementwise{.name = "vector loops",
                                         .add = add_maps,
                                         .divide = nullptr,
                                         .gate = gate,
                                         .gate_backward = backward_of_gate,
                                         .concat = concat,
                                         .split = split,
                                         .dropout = dropout,
                                         .stochastic_depth = stochastic_depth};

}  // namespace tidepool
