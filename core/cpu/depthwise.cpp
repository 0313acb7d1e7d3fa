#include "core/cpu/depthwise.h"

#include <algorithm>

#include "core/cpu/nontemporal.h"
#include "core/lanes.h"
#include "core/parallel.h"

namespace tidepool::depthwise {
namespace {

struct Shape {
  int64_t images, channels, height, width, out_height, out_width, pad_h, pad_w;

  Shape(const Tensor& x, const Tensor& y, const ConvOptions& o)
      : images(x.size(0)),
        channels(x.size(1)),
        height(x.size(2)),
        width(x.size(3)),
        out_height(y.size(2)),
        out_width(y.size(3)),
        pad_h(o.padding[0]),
        pad_w(o.padding[1]) {}
};

using Vector = tidepool::detail::WideOf<float>::type;

/// Rows of results that one thread makes at a time.
int64_t rows_a_chunk(int64_t row_elements) {
  return std::max<int64_t>(32768 / std::max<int64_t>(1, row_elements), 1);
}

/// w [C, 1, k, k] as [k, k, C], channels last as the maps are; turned: rows and columns in descending order.
Tensor weights_last(const Tensor& w, bool turned) {
  const int64_t channels = w.size(0), taps = w.size(2) * w.size(3);
  const Tensor last = Tensor::empty({taps, channels});
  const float* const from = w.data<float>();
  float* const to = last.mutable_data<float>();
  for (int64_t t = 0; t < taps; ++t)
    for (int64_t c = 0; c < channels; ++c) to[t * channels + c] = from[c * taps + (turned ? taps - 1 - t : t)];
  return last;
}

/// A row of a map and the weights that meet it.
template <class T>
struct Line {
  const T* map;          ///< pixel 0
  const float* weights;  ///< tap 0
};
/// What the results of a row are sums over; both directions are this. Result j is the sum over lines and taps t of
/// map[first + s j + t] weights[t], pixels outside the map left out.
template <class T>
struct Row {
  Line<T> lines[5]{};
  int count = 0;
  int64_t width, channels;
  int64_t tap_step;  ///< between a line's weights
  int64_t first;
  const float* bias;  ///< or null
  T* out;
  int64_t results, out_step;
  bool stream;
};

/// Results j to j + n, of all channels: n sums in registers, a run of channels at a time.
template <int taps, int s, int n, bool kInside, bool kStream, class T>
void some_results(const Row<T>& row, int64_t j) {
  constexpr int kPixels = (n - 1) * s + taps;
  const int64_t first = row.first + s * j, channels = row.channels, width = row.width;
  each_lane<float>(0, channels, [&]<class V>(int64_t c) {
    V sums[n];
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) sums[i] = row.bias ? load<V>(row.bias + c) : splat<V>(0);
    for (int line = 0; line < row.count; ++line) {
      const T* const map = row.lines[line].map + first * channels + c;
      const float* const from = row.lines[line].weights + c;
      V w[taps];
#pragma GCC unroll 5
      for (int t = 0; t < taps; ++t) w[t] = load<V>(from + t * row.tap_step);
#pragma GCC unroll 19
      for (int i = 0; i < kPixels; ++i) {
        if (!kInside && (first + i < 0 || first + i >= width)) continue;
        const V v = load<V>(map + i * channels);
#pragma GCC unroll 5
        for (int t = 0; t < taps; ++t)
          if (i >= t && (i - t) % s == 0 && (i - t) / s < n) sums[(i - t) / s] = sums[(i - t) / s] + v * w[t];
      }
    }
    T* const out = row.out + j * row.out_step + c;
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) put<kStream>(out + i * row.out_step, sums[i]);
  });
}

/// Calls f.operator()<n>(j) so that [0, count) is covered by runs of these sizes, in their order.
template <int... sizes, class F>
void in_runs_of(int64_t count, const F& f) {
  int64_t j = 0;
  const auto size = [&]<int n>() {
    for (; j + n <= count; j += n) f.template operator()<n>(j);
  };
  (size.template operator()<sizes>(), ...);
}
/// The same with sizes that suit `count`: registers hold the sums of 8 results and what they need.
template <class F>
void in_runs(int64_t count, const F& f) {
  if (count % 7 == 0)  // maps of 224 and what strides make of them
    in_runs_of<7>(count, f);
  else
    in_runs_of<8, 4, 2, 1>(count, f);
}

template <int taps, int s, class T>
void results(const Row<T>& row) {
  const auto run = [&]<int n, bool kStream>(int64_t j) {
    const int64_t first = row.first + s * j;
    if (first >= 0 && first + (n - 1) * s + taps <= row.width)
      some_results<taps, s, n, true, kStream>(row, j);
    else
      some_results<taps, s, n, false, kStream>(row, j);
  };
  in_runs(row.results, [&]<int n>(int64_t j) {
    if constexpr (std::is_same_v<T, float>)
      if (row.stream) return run.template operator()<n, true>(j);
    run.template operator()<n, false>(j);
  });
}

template <int k, int s, class T>
void forward(const T* x, const Tensor& w, const float* bias, const Shape& p, T* y) {
  const Tensor last = weights_last(w, false);
  const float* const weights = last.data<float>();
  const int64_t channels = p.channels, width = p.out_width * channels;
  const bool stream = streams<Vector>(y, p.images * p.out_height * width, channels);
  parallel_chunks(p.images * p.out_height, rows_a_chunk(width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t image = r / p.out_height, top = r % p.out_height * s - p.pad_h;
      Row<T> row{.width = p.width,
                 .channels = channels,
                 .tap_step = channels,
                 .first = -p.pad_w,
                 .bias = bias,
                 .out = y + r * width,
                 .results = p.out_width,
                 .out_step = channels,
                 .stream = stream};
      for (int64_t a = std::max<int64_t>(0, -top); a < std::min<int64_t>(k, p.height - top); ++a)
        row.lines[row.count++] = {x + (image * p.height + top + a) * p.width * channels, weights + a * k * channels};
      results<k, s>(row);
    }
    if (stream) finish_streams();
  });
}

/// The taps of one axis that a pixel of dx meets, i its place: b0, b0 + s, ..., of results o0, o0 - 1, ...
template <int k, int s>
struct Meeting {
  int64_t b0, count, o0;

  Meeting(int64_t i, int64_t pad) : b0((i + pad) % s), count((k - b0 + s - 1) / s), o0((i + pad - b0) / s) {}
  /// The result of the last tap, and that tap's place in the turned weights.
  int64_t first() const { return o0 - count + 1; }
  int64_t turned() const { return k - 1 - b0 - s * (count - 1); }
};

template <int k, int s, class T>
void backward_data(const T* dy, const Tensor& w, const Shape& p, T* dx) {
  const Tensor last = weights_last(w, true);
  const float* const weights = last.data<float>();
  const int64_t channels = p.channels, width = p.width * channels;
  const bool stream = streams<Vector>(dx, p.images * p.height * width, channels);
  parallel_chunks(p.images * p.height, rows_a_chunk(width), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t image = r / p.height;
      const Meeting<k, s> rows(r % p.height, p.pad_h);
      for (int64_t q = 0; q < std::min<int64_t>(s, p.width); ++q) {  // every s-th pixel meets the same taps
        const Meeting<k, s> columns(q, p.pad_w);
        Row<T> row{.width = p.out_width,
                   .channels = channels,
                   .tap_step = s * channels,
                   .first = columns.first(),
                   .bias = nullptr,
                   .out = dx + r * width + q * channels,
                   .results = (p.width - q + s - 1) / s,
                   .out_step = s * channels,
                   .stream = stream};
        for (int64_t u = 0; u < rows.count; ++u) {
          const int64_t o = rows.first() + u;
          if (o < 0 || o >= p.out_height) continue;
          row.lines[row.count++] = {dy + (image * p.out_height + o) * p.out_width * channels,
                                    weights + ((rows.turned() + s * u) * k + columns.turned()) * channels};
        }
        if (columns.b0 == 0)
          results<(k + s - 1) / s, 1>(row);
        else
          results<(k + s - 2) / s, 1>(row);
      }
    }
    if (stream) finish_streams();
  });
}

/// sums[k k + 1][C], channels [from, from + count): adds the products of n results with the pixels that their taps
/// meet, and in the last row the results themselves. `map`: pixel 0 of the line that row 0 of the taps meets, which
/// lines `top` to `bottom` of the window are inside.
template <int k, int s, int n, bool kInside, class T>
void add_products(const T* dy, const T* map, int64_t line_step, int64_t top, int64_t bottom, int64_t first,
                  int64_t width, int64_t channels, int64_t from, int64_t count, float* sums) {
  each_lane<float>(from, count, [&]<class V>(int64_t c) {
    V v[n], all = load<V>(sums + k * k * channels + c);
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) {
      v[i] = load<V>(dy + i * channels + c);
      all = all + v[i];
    }
    store(sums + k * k * channels + c, all);
    for (int64_t a = top; a < bottom; ++a) {
      float* const mine = sums + a * k * channels + c;
      V sum[k];
#pragma GCC unroll 5
      for (int b = 0; b < k; ++b) sum[b] = load<V>(mine + b * channels);
      const T* const in = map + a * line_step + first * channels + c;
#pragma GCC unroll 19
      for (int i = 0; i < (n - 1) * s + k; ++i) {
        if (!kInside && (first + i < 0 || first + i >= width)) continue;
        const V pixel = load<V>(in + i * channels);
#pragma GCC unroll 5
        for (int b = 0; b < k; ++b)
          if (i >= b && (i - b) % s == 0 && (i - b) / s < n) sum[b] = sum[b] + pixel * v[(i - b) / s];
      }
#pragma GCC unroll 5
      for (int b = 0; b < k; ++b) store(mine + b * channels, sum[b]);
    }
  });
}

/// Sums of a chunk of result rows apart, in the end added in f64: parts[chunk][k k + 1][C].
template <int k, int s, class T>
void backward_weights(const T* x, const T* dy, const Shape& p, float* dw, float* dbias) {
  constexpr int64_t taps = k * k, kTile = 128;  // channels whose sums stay in the nearest cache
  const int64_t channels = p.channels, rows = p.images * p.out_height,
                grain = std::max<int64_t>(8, rows_a_chunk(p.out_width * channels));
  const int64_t chunks = (rows + grain - 1) / grain;
  const Tensor parts = Tensor::empty({chunks, taps + 1, channels});
  float* const all = parts.mutable_data<float>();
  parallel_chunks(rows, grain, [&](int64_t begin, int64_t end) {
    float* const mine = all + begin / grain * (taps + 1) * channels;
    std::fill_n(mine, (taps + 1) * channels, 0.0f);
    for (int64_t c = 0; c < channels; c += kTile)
      for (int64_t r = begin; r < end; ++r) {
        const int64_t image = r / p.out_height, top = r % p.out_height * s - p.pad_h;
        const int64_t line_step = p.width * channels, a0 = std::max<int64_t>(0, -top),
                      a1 = std::min<int64_t>(k, p.height - top);
        const T* const map = x + (image * p.height + top) * line_step;
        in_runs(p.out_width, [&]<int n>(int64_t j) {
          const int64_t first = j * s - p.pad_w, count = std::min(kTile, channels - c);
          const T* const results = dy + (r * p.out_width + j) * channels;
          if (first >= 0 && first + (n - 1) * s + k <= p.width)
            add_products<k, s, n, true>(results, map, line_step, a0, a1, first, p.width, channels, c, count, mine);
          else
            add_products<k, s, n, false>(results, map, line_step, a0, a1, first, p.width, channels, c, count, mine);
        });
      }
  });
  parallel_chunks(channels, 16, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c)
      for (int64_t i = 0; i <= taps; ++i) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
          sum += static_cast<double>(all[(chunk * (taps + 1) + i) * channels + c]);
        if (i < taps)
          dw[c * taps + i] = static_cast<float>(sum);
        else if (dbias)
          dbias[c] = static_cast<float>(sum);
      }
  });
}

/// Calls f.operator()<k, s, T>().
template <class F>
void with_case(DType dtype, int64_t kernel, int64_t stride, const F& f) {
  const auto typed = [&]<class T>(T) {
    if (kernel == 3)
      stride == 1 ? f.template operator()<3, 1, T>() : f.template operator()<3, 2, T>();
    else
      stride == 1 ? f.template operator()<5, 1, T>() : f.template operator()<5, 2, T>();
  };
  dtype == DType::bf16 ? typed(bf16{}) : typed(float{});
}

const float* data_of(const Tensor& bias) {
  return bias ? bias.data<float>() : nullptr;
}

}  // namespace

bool serves(const Tensor& map, const Tensor& w, const ConvOptions& o) {
  if (map.rank() != 4 || (map.dtype() != DType::f32 && map.dtype() != DType::bf16)) return false;
  if (w.dtype() != DType::f32 || w.size(1) != 1 || o.groups != w.size(0)) return false;
  const int64_t kernel = w.size(2);
  if (w.size(3) != kernel || (kernel != 3 && kernel != 5)) return false;
  if (o.stride[0] != o.stride[1] || (o.stride[0] != 1 && o.stride[0] != 2)) return false;
  for (size_t a = 0; a < 2; ++a)
    if (o.dilation[a] != 1 || o.padding[a] < 0 || o.padding[a] >= kernel) return false;
  return map.is_contiguous(MemoryFormat::channels_last);
}

void conv_forward(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y) {
  with_case(x.dtype(), w.size(2), o.stride[0], [&]<int k, int s, class T> {
    forward<k, s>(x.data<T>(), w, data_of(bias), Shape(x, y, o), y.mutable_data<T>());
  });
}

void conv_backward_data(const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx) {
  with_case(dx.dtype(), w.size(2), o.stride[0], [&]<int k, int s, class T> {
    backward_data<k, s>(dy.data<T>(), w, Shape(dx, dy, o), dx.mutable_data<T>());
  });
}

void conv_backward_weights(const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias) {
  with_case(x.dtype(), dw.size(2), o.stride[0], [&]<int k, int s, class T> {
    backward_weights<k, s>(x.data<T>(), dy.data<T>(), Shape(x, dy, o), dw.mutable_data<float>(),
                           dbias ? dbias.mutable_data<float>() : nullptr);
  });
}

}  // namespace tidepool::depthwise
