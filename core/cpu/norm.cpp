// A map is seen as rows x channels (channels-last: a vector is a run of channels) or images x channels x positions
// (plain: a vector is a run of positions). Every kernel runs near the memory's bandwidth. Sums are kept per chunk of
// rows, in f32 lanes about a pivot, and joined in f64 in the order of the chunks, so they do not depend on the number
// of threads.
#include <algorithm>

#include "core/cpu/norm_blocks.h"
#include "core/cpu/tables.h"
#include "core/lanes.h"
#include "core/parallel.h"

namespace tidepool::norm {
namespace {

struct Map {
  int64_t images, channels, positions;
  bool channels_last;

  explicit Map(const Tensor& x)
      : images(x.size(0)), channels(x.size(1)), positions(1), channels_last(x.format() == MemoryFormat::channels_last) {
    for (int i = 2; i < x.rank(); ++i) positions *= x.size(i);
    channels_last = channels_last || positions == 1;
  }
  int64_t rows() const { return images * positions; }
  // A chunk of the sums: rows (channels-last) or one image.
  int64_t chunk_rows() const { return channels_last ? sum_run(channels) : positions; }
  int64_t chunks() const { return (rows() + chunk_rows() - 1) / std::max<int64_t>(1, chunk_rows()); }
  double chunk_size(int64_t chunk) const {
    return static_cast<double>(std::min(chunk_rows(), rows() - chunk * chunk_rows()));
  }
};

template <class V>
TP_INLINE double lane(const V& v, int l) {
  if constexpr (kLanes<V> == 1)
    return static_cast<double>(v);
  else
    return static_cast<double>(v[l]);
}

// The constants of channel c: neighbours in memory, or one for all positions of a channel.
template <class V, bool kOneChannel>
TP_INLINE V constant(const Lane<V>* p, int64_t c) {
  if constexpr (kOneChannel)
    return splat<V>(p[c]);
  else
    return load<V>(p + c);
}

// Two sums per channel over rows [begin, end) of a channels-last map: out[2][channels].
template <class A, class Kernel>
void reduce_rows(int64_t begin, int64_t end, int64_t channels, double* out, const Kernel& kernel) {
  each_block<A, 4>(channels, [&]<class V, int B>(int64_t c) {
    typename Kernel::template Constants<V> k[B];
    V s0[B] = {}, s1[B] = {};
    for (int b = 0; b < B; ++b)
      k[b] = kernel.template constants<V, false>(c + b * kLanes<V>, begin * channels + c + b * kLanes<V>, channels,
                                                 end - begin);
    for (int64_t row = begin; row < end; ++row)
      for (int b = 0; b < B; ++b) kernel.add(k[b], row * channels + c + b * kLanes<V>, s0[b], s1[b]);
    for (int b = 0; b < B; ++b)
      for (int l = 0; l < kLanes<V>; ++l) {
        double* o = out + c + b * kLanes<V> + l;
        kernel.finish(lane(k[b].pivot, l), lane(s0[b], l), lane(s1[b], l), static_cast<double>(end - begin), o,
                      o + channels);
      }
  });
}

// Rows of a plain map, each of so many positions, that a chunk takes.
int64_t rows_of(int64_t positions) {
  return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, positions));
}

// Writes two sums per chunk and channel: sums[chunk][2][channels].
template <class A, class Kernel>
void reduce(const Map& m, double* sums, const Kernel& kernel) {
  const int64_t channels = m.channels, positions = m.positions;
  if (m.channels_last) {
    const int64_t grain = m.chunk_rows();
    parallel_chunks(m.rows(), grain, [&](int64_t begin, int64_t end) {
      reduce_rows<A>(begin, end, channels, sums + begin / grain * 2 * channels, kernel);
    });
    return;
  }
  parallel_chunks(m.images * channels, rows_of(positions), [&](int64_t begin, int64_t end) {
    constexpr int64_t kRun = 4096;  // summed in f32 lanes; runs are joined in f64
    for (int64_t row = begin; row < end; ++row) {
      const int64_t c = row % channels;
      double s0 = 0, s1 = 0, pivot = 0;
      const auto first = kernel.template constants<A, true>(c, row * positions, 1, positions);
      pivot = static_cast<double>(first.pivot);
      for (int64_t run = 0; run < positions; run += kRun) {
        const int64_t begin_run = row * positions + run, length = std::min(kRun, positions - run);
        using V = typename detail::WideOf<A>::type;
        const auto wide = kernel.template widened<V>(first);
        V w0 = {}, w1 = {};
        A t0 = 0, t1 = 0;
        each_lane<A>(begin_run, length, [&]<class W>(int64_t i) {
          if constexpr (kLanes<W> == 1)
            kernel.add(first, i, t0, t1);
          else
            kernel.add(wide, i, w0, w1);
        });
        for (int l = 0; l < kLanes<V>; ++l) s0 += lane(w0, l), s1 += lane(w1, l);
        s0 += static_cast<double>(t0), s1 += static_cast<double>(t1);
      }
      double* o = sums + row / channels * 2 * channels + c;
      kernel.finish(pivot, s0, s1, static_cast<double>(positions), o, o + channels);
    }
  });
}

// Calls kernel.apply for every element.
template <class A, class Kernel>
void map_over(const Map& m, const Kernel& kernel) {
  const int64_t channels = m.channels, positions = m.positions;
  if (m.channels_last) {
    const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, channels));
    parallel_chunks(m.rows(), grain, [&](int64_t begin, int64_t end) {
      each_in_order<A>(
          begin, end, channels, [&]<class V>(int64_t c) { return kernel.template constants<V, false>(c); },
          [&](const auto& k, int64_t row, int64_t c) { kernel.apply(k, row * channels + c); });
    });
    return;
  }
  parallel_chunks(m.images * channels, rows_of(positions), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      each_lane<A>(row * positions, positions,
                   [&]<class V>(int64_t i) { kernel.apply(kernel.template constants<V, true>(row % channels), i); });
  });
}

// Sums of x - pivot and its square; a chunk gives its mean and the sum of squares about it.
template <class T>
struct Statistics {
  using A = Acc<T>;
  const T* x;

  template <class V>
  struct Constants {
    V pivot;
  };
  // The mean of the chunk's first rows: near the mean even when the very first value is not.
  template <class V, bool>
  TP_INLINE Constants<V> constants(int64_t, int64_t first, int64_t step, int64_t count) const {
    const int64_t some = std::min<int64_t>(count, 8);
    V sum = {};
    for (int64_t i = 0; i < some; ++i) sum = sum + load<V>(x + first + i * step);
    return {sum * splat<V>(A{1} / static_cast<A>(some))};
  }
  template <class V>
  Constants<V> widened(const Constants<A>& k) const {
    return {splat<V>(k.pivot)};
  }
  template <class V>
  TP_INLINE void add(const Constants<V>& k, int64_t i, V& s0, V& s1) const {
    const V d = load<V>(x + i) - k.pivot;
    s0 = s0 + d;
    s1 = s1 + d * d;
  }
  void finish(double pivot, double s0, double s1, double count, double* mean, double* squares) const {
    *mean = pivot + s0 / count;
    *squares = std::max(0.0, s1 - s0 * (s0 / count)) + (s0 - s0);  // max drops NaN, the last term brings it back
  }
};

// The three rows of `constants`.
template <class A>
struct Affine {
  const A *mean, *scale, *shift;

  template <class V>
  struct Constants {
    V mean, scale, shift;
  };
  template <class V, bool kOneChannel>
  TP_INLINE Constants<V> constants(int64_t c) const {
    return {constant<V, kOneChannel>(mean, c), constant<V, kOneChannel>(scale, c), constant<V, kOneChannel>(shift, c)};
  }
};

template <class T, class F>
struct Normalise {
  using A = Acc<T>;
  const T* x;
  T* out;
  Affine<A> affine;

  template <class V>
  using Constants = typename Affine<A>::template Constants<V>;
  template <class V, bool kOneChannel>
  TP_INLINE Constants<V> constants(int64_t c) const {
    return affine.template constants<V, kOneChannel>(c);
  }
  template <class V>
  TP_INLINE void apply(const Constants<V>& k, int64_t i) const {
    store(out + i, F::template apply<V>(normed<V>(load<V>(x + i) - k.mean, k.scale, k.shift)));
  }
};

// The norm's gradient from dy, that of the activation, which sees the norm's value again as the forward computed it.
template <class T, class F, class V, class Constants>
TP_INLINE V behind(const T* dy, int64_t i, const Constants& k, V centred) {
  return F::template gradient<T, V>(load<V>(dy + i), normed<V>(centred, k.scale, k.shift));
}

// Sums of g and g (x - mean), g the norm's gradient.
template <class T, class F>
struct GradientSums {
  using A = Acc<T>;
  const T *x, *dy;
  Affine<A> affine;

  template <class V>
  struct Constants : Affine<A>::template Constants<V> {
    V pivot{};
  };
  template <class V, bool kOneChannel>
  TP_INLINE Constants<V> constants(int64_t c, int64_t, int64_t, int64_t) const {
    return {affine.template constants<V, kOneChannel>(c), V{}};
  }
  template <class V>
  Constants<V> widened(const Constants<A>& k) const {
    return {{splat<V>(k.mean), splat<V>(k.scale), splat<V>(k.shift)}, V{}};
  }
  template <class V>
  TP_INLINE void add(const Constants<V>& k, int64_t i, V& s0, V& s1) const {
    const V centred = load<V>(x + i) - k.mean;
    const V g = behind<T, F, V>(dy, i, k, centred);
    s0 = s0 + g;
    s1 = s1 + g * centred;
  }
  void finish(double, double s0, double s1, double, double* out0, double* out1) const { *out0 = s0, *out1 = s1; }
};

// dx = scale g + (x - mean) slope + offset
template <class T, class F>
struct Gradient {
  using A = Acc<T>;
  const T *x, *dy;
  T* dx;
  Affine<A> affine;
  const A *slope, *offset;

  template <class V>
  struct Constants : Affine<A>::template Constants<V> {
    V slope, offset;
  };
  template <class V, bool kOneChannel>
  TP_INLINE Constants<V> constants(int64_t c) const {
    return {affine.template constants<V, kOneChannel>(c), constant<V, kOneChannel>(slope, c),
            constant<V, kOneChannel>(offset, c)};
  }
  template <class V>
  TP_INLINE void apply(const Constants<V>& k, int64_t i) const {
    const V centred = load<V>(x + i) - k.mean;
    const V g = behind<T, F, V>(dy, i, k, centred);
    store(dx + i, gradient<V>(g, centred, k.scale, k.slope, k.offset));
  }
};

template <class A>
Affine<A> affine_of(const Tensor& constants) {
  const A* rows = constants.data<A>();
  return {rows, rows + constants.size(1), rows + 2 * constants.size(1)};
}

// parts[chunks][2][channels], added in order.
void join_sums(int64_t chunks, int64_t channels, const double* parts, double* sums) {
  parallel_chunks(2 * channels, 64, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) sums[c] = 0;
    for (int64_t i = 0; i < chunks; ++i)
      for (int64_t c = begin; c < end; ++c) sums[c] += parts[i * 2 * channels + c];
  });
}

bool join_chunks(const Tensor& parts, const Tensor& counts, const Tensor& moments) {
  const int64_t chunks = parts.size(0), channels = parts.size(2);
  const double *all = parts.data<double>(), *count = counts.data<double>();
  double total = 0;
  for (int64_t i = 0; i < chunks; ++i) total += count[i];
  double *mean = moments.mutable_data<double>(), *squares = mean + channels;
  parallel_chunks(channels, 64, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) mean[c] = squares[c] = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      const double share = count[i] / total;
      for (int64_t c = begin; c < end; ++c) mean[c] += share * all[i * 2 * channels + c];
    }
    for (int64_t i = 0; i < chunks; ++i) {
      const double* part = all + i * 2 * channels;
      for (int64_t c = begin; c < end; ++c) {
        const double d = part[c] - mean[c];
        squares[c] += part[channels + c] + count[i] * d * d;
      }
    }
  });
  return true;
}

bool moments_of_map(const Tensor& x, const Tensor& moments) {
  const Map m(x);
  const Tensor parts = Tensor::empty({m.chunks(), 2, m.channels}, {.dtype = DType::f64}),
               counts = Tensor::empty({m.chunks()}, {.dtype = DType::f64});
  double* const count = counts.mutable_data<double>();
  for (int64_t i = 0; i < m.chunks(); ++i) count[i] = m.chunk_size(i);
  dispatch_floating(x.dtype(), "batch_norm",
                    [&]<class T>(T) { reduce<Acc<T>>(m, parts.mutable_data<double>(), Statistics<T>{x.data<T>()}); });
  return join_chunks(parts, counts, moments);
}

bool apply_map(const Tensor& x, const Tensor& constants, Act act, const Tensor& y) {
  const Map m(x);
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>(T) {
    with_activation(act, [&]<class F>(F) {
      map_over<Acc<T>>(m, Normalise<T, F>{x.data<T>(), y.mutable_data<T>(), affine_of<Acc<T>>(constants)});
    });
  });
  return true;
}

bool join_parts(const Tensor& parts, const Tensor& sums) {
  join_sums(parts.size(0), parts.size(2), parts.data<double>(), sums.mutable_data<double>());
  return true;
}

bool sums_of_gradient(const Tensor& x, const Tensor& dy, const Tensor& constants, Act act, const Tensor& sums) {
  const Map m(x);
  const Tensor parts = Tensor::empty({m.chunks(), 2, m.channels}, {.dtype = DType::f64});
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    const Affine<A> affine = affine_of<A>(constants);
    with_activation(act, [&]<class F>(F) {
      reduce<A>(m, parts.mutable_data<double>(), GradientSums<T, F>{x.data<T>(), dy.data<T>(), affine});
    });
  });
  return join_parts(parts, sums);
}

bool gradient_map(const Tensor& x, const Tensor& dy, const Tensor& constants, const Tensor& line, Act act,
                  const Tensor& dx) {
  const Map m(x);
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    const A *slope = line.data<A>(), *offset = slope + m.channels;
    with_activation(act, [&]<class F>(F) {
      map_over<A>(
          m, Gradient<T, F>{x.data<T>(), dy.data<T>(), dx.mutable_data<T>(), affine_of<A>(constants), slope, offset});
    });
  });
  return true;
}

}  // namespace
}  // namespace tidepool::norm

namespace tidepool {

// Statistics and the parameters' gradient are C numbers, and the instance norm sums in f64: the reference's.
const NormTable cpu::kNorm{.name = "vector loops",
                           .moments = norm::moments_of_map,
                           .join_moments = norm::join_chunks,
                           .statistics = nullptr,
                           .batch_statistics = nullptr,
                           .apply = norm::apply_map,
                           .gradient_sums = norm::sums_of_gradient,
                           .join_sums = norm::join_parts,
                           .parameter_gradient = nullptr,
                           .batch_gradient = nullptr,
                           .apply_gradient = norm::gradient_map,
                           .instance_norm = nullptr,
                           .instance_norm_backward = nullptr};

}  // namespace tidepool
