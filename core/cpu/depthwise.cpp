#include "core/cpu/depthwise.h"

#include <algorithm>

#include "core/cpu/flush_denormals.h"
#include "core/cpu/nontemporal.h"
#include "core/cpu/norm_rows.h"
#include "core/cpu/scratch.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/sums.h"

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
struct Line {
  const float* map;      ///< pixel 0
  const float* weights;  ///< tap 0
};
/// What the results of a row are sums over; both directions are this. Result j is the sum over lines and taps t of
/// map[first + s j + t] weights[t], pixels outside the map left out.
template <class T>
struct Row {
  Line lines[5]{};
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
template <int taps, int s, int n, bool kInside, class T>
TP_NOINLINE void some_results(const Row<T>& row, int64_t j) {
  constexpr int kPixels = (n - 1) * s + taps;
  const int64_t first = row.first + s * j, channels = row.channels, width = row.width;
  each_lane<float>(0, channels, [&]<class V>(int64_t c) {
    V sums[n];
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) sums[i] = row.bias ? load<V>(row.bias + c) : splat<V>(0);
    for (int line = 0; line < row.count; ++line) {
      const float* const map = row.lines[line].map + first * channels + c;
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
    if (std::is_same_v<T, float> && row.stream)
#pragma GCC unroll 8
      for (int i = 0; i < n; ++i) put<true>(out + i * row.out_step, sums[i]);
    else
#pragma GCC unroll 8
      for (int i = 0; i < n; ++i) store(out + i * row.out_step, sums[i]);
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
  in_runs(row.results, [&]<int n>(int64_t j) {
    const int64_t first = row.first + s * j;
    if (first >= 0 && first + (n - 1) * s + taps <= row.width)
      some_results<taps, s, n, true>(row, j);
    else
      some_results<taps, s, n, false>(row, j);
  });
}

/// Images, or bands of rows of few images, that are done one after the other by a thread. They depend on shapes alone.
struct Bands {
  int64_t height, band, an_image, count;

  Bands(int64_t images, int64_t rows)
      : height(rows),
        band(images >= 16 ? rows : std::min(rows, std::max<int64_t>(8, (rows * images + 15) / 16))),
        an_image((rows + band - 1) / band),
        count(images * an_image) {}
  int64_t image(int64_t i) const { return i / an_image; }
  int64_t begin(int64_t i) const { return i % an_image * band; }
  int64_t end(int64_t i) const { return std::min(height, begin(i) + band); }
};

/// The rows of an image as the sums read them, f32: those of the map itself, or formed by `fill`, each once, into a
/// ring of the few that are read together. They are asked for in ascending order.
template <class T, class Fill>
class Lines {
 public:
  Lines(const T* image, int64_t size, float* ring, int64_t kept, int64_t first, const Fill& fill)
      : image_(image), size_(size), ring_(ring), kept_(kept), next_(first), fill_(fill) {}

  const float* row(int64_t i) {
    if constexpr (std::is_same_v<T, float>)
      if (!ring_) return image_ + i * size_;
    for (; next_ <= i; ++next_) fill_(image_ + next_ * size_, next_, at(next_));
    return at(i);
  }

 private:
  float* at(int64_t i) const { return ring_ + i % kept_ * size_; }

  const T* image_;
  int64_t size_;
  float* ring_;
  int64_t kept_, next_;
  const Fill& fill_;
};

/// x's rows behind its norm, if it has one.
template <class T>
auto fill_normed(const NormAct& norm, int64_t width, int64_t channels) {
  return [&norm, width, channels](const T* from, int64_t, float* to) {
    if (norm)
      norm::apply_rows<T, float>({from, channels}, width, channels, norm.constants.data<float>(), norm.act,
                                 {to, channels});
    else
      each_lane<float>(0, width * channels, [&]<class V>(int64_t i) { store(to + i, load<V>(from + i)); });
  };
}

/// Rows of pixels whose sums are taken at a time.
int64_t rows_of_sums(int64_t width) {
  return std::max<int64_t>(1, 128 / std::max<int64_t>(1, width));
}

template <int k, int s, class T>
void forward(const Tensor& from, const Tensor& w, const float* bias, const Shape& p, const Tensor& to,
             const ForwardFusion& fusion) {
  const Tensor last = weights_last(w, false);
  const float* const weights = last.data<float>();
  const int64_t channels = p.channels, in_size = p.width * channels, size = p.out_width * channels;
  const Bands bands(p.images, p.out_height);
  const bool direct = std::is_same_v<T, float> && !fusion.read;
  const Scratch scratch(direct ? 0 : k * in_size);
  const T* const x = from.data<T>();
  T* const y = to.mutable_data<T>();
  const int64_t run = rows_of_sums(p.out_width), runs = (bands.band + run - 1) / run;
  double *parts = nullptr, *counts = nullptr;
  if (fusion.moments) {
    fusion.moments->parts = Tensor::zeros({bands.count * runs, 2, channels}, {.dtype = DType::f64});
    fusion.moments->counts = Tensor::zeros({bands.count * runs}, {.dtype = DType::f64});
    parts = fusion.moments->parts.mutable_data<double>();
    counts = fusion.moments->counts.mutable_data<double>();
  }
  const bool stream = !parts && !fusion.write && streams<Vector>(y, p.images * p.out_height * size, channels);
  const auto fill = fill_normed<T>(fusion.read, p.width, channels);
  parallel_chunks(bands.count, 1, [&](int64_t band, int64_t) {
    const FlushDenormals flush;
    const int64_t image = bands.image(band), begin = bands.begin(band), end = bands.end(band);
    Lines<T, decltype(fill)> lines(x + image * p.height * in_size, in_size, direct ? nullptr : scratch.own(), k,
                                   std::max<int64_t>(0, begin * s - p.pad_h), fill);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t top = r * s - p.pad_h;
      T* const out = y + (image * p.out_height + r) * size;
      Row<T> row{.width = p.width,
                 .channels = channels,
                 .tap_step = channels,
                 .first = -p.pad_w,
                 .bias = bias,
                 .out = out,
                 .results = p.out_width,
                 .out_step = channels,
                 .stream = stream};
      for (int64_t a = std::max<int64_t>(0, -top); a < std::min<int64_t>(k, p.height - top); ++a)
        row.lines[row.count++] = {lines.row(top + a), weights + a * k * channels};
      results<k, s>(row);
      const int64_t done = (r - begin) % run + 1;
      if (done < run && r + 1 < end) continue;
      T* const first = out - (done - 1) * size;
      if (parts) {
        const int64_t part = band * runs + (r - begin) / run;
        counts[part] = static_cast<double>(done * p.out_width);
        norm::moments_of_rows<T>({first, channels}, done * p.out_width, channels, parts + part * 2 * channels);
      }
      if (fusion.write)
        norm::apply_rows(first, done * p.out_width, channels, fusion.write.constants.data<float>(), fusion.write.act,
                         first);
    }
    if (stream) finish_streams();
  });
}

/// The taps of one axis that a pixel of dx meets, i its position: b0, b0 + s, ..., of results o0, o0 - 1, ...
template <int k, int s>
struct Meeting {
  int64_t b0, count, o0;

  Meeting(int64_t i, int64_t pad) : b0((i + pad) % s), count((k - b0 + s - 1) / s), o0((i + pad - b0) / s) {}
  /// The result of the last tap, and that tap's position in the turned weights.
  int64_t first() const { return o0 - count + 1; }
  int64_t turned() const { return k - 1 - b0 - s * (count - 1); }
};

/// Row i of dx, which meets rows of dy.
template <int k, int s, class T, class DyLines>
void data_row(const Shape& p, int64_t i, DyLines& dy, const float* turned_weights, bool stream, T* dx) {
  const int64_t channels = p.channels;
  const Meeting<k, s> rows(i, p.pad_h);
  for (int64_t q = 0; q < std::min<int64_t>(s, p.width); ++q) {  // every s-th pixel meets the same taps
    const Meeting<k, s> columns(q, p.pad_w);
    Row<T> row{.width = p.out_width,
               .channels = channels,
               .tap_step = s * channels,
               .first = columns.first(),
               .bias = nullptr,
               .out = dx + q * channels,
               .results = (p.width - q + s - 1) / s,
               .out_step = s * channels,
               .stream = stream};
    for (int64_t u = 0; u < rows.count; ++u) {
      const int64_t o = rows.first() + u;
      if (o < 0 || o >= p.out_height) continue;
      row.lines[row.count++] = {dy.row(o),
                                turned_weights + ((rows.turned() + s * u) * k + columns.turned()) * channels};
    }
    if (s == 1 || columns.b0 == 0)
      results<(k + s - 1) / s, 1>(row);
    else if constexpr (s > 1)
      results<(k + s - 2) / s, 1>(row);
  }
}

/// sums[k k + 1][C], channels [from, from + count): adds the products of n results with the pixels that their taps
/// meet, and in the last row the results themselves. lines[a]: pixel 0 of the line that row a of the taps meets, for
/// rows `top` to `bottom`, which are inside the map.
template <int k, int s, int n, bool kInside>
TP_NOINLINE void add_products(const float* dy, const float* const* lines, int64_t top, int64_t bottom, int64_t first,
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
      const float* const in = lines[a] + first * channels + c;
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

/// A row of results and the lines that it meets.
template <int k, int s>
void add_row(const Shape& p, const float* dy, const float* const* lines, int64_t top, int64_t bottom, float* sums) {
  constexpr int64_t kTile = 128;  // channels whose sums stay in the nearest cache
  for (int64_t c = 0; c < p.channels; c += kTile)
    in_runs(p.out_width, [&]<int n>(int64_t j) {
      const int64_t first = j * s - p.pad_w, count = std::min(kTile, p.channels - c);
      const float* const from = dy + j * p.channels;
      if (first >= 0 && first + (n - 1) * s + k <= p.width)
        add_products<k, s, n, true>(from, lines, top, bottom, first, p.width, p.channels, c, count, sums);
      else
        add_products<k, s, n, false>(from, lines, top, bottom, first, p.width, p.channels, c, count, sums);
    });
}

/// Both gradients, or one. Sums of a band are in f32; those of bands in f64, in groups that are added in order.
template <int k, int s, class T>
void backward(const Tensor& from, const NormAct& read, const Tensor& dz_from, const GradientFusion& fusion,
              const Tensor& w, const Shape& p, const Gradients& to) {
  constexpr int64_t taps = k * k;
  const int64_t channels = p.channels, size = p.width * channels, out_size = p.out_width * channels;
  const Bands bands(p.images, p.out_height);
  const bool direct_x = std::is_same_v<T, float> && !read, direct_dy = std::is_same_v<T, float> && !fusion.y;
  const T *const x = from ? from.data<T>() : nullptr, *const dz = dz_from.data<T>(),
                 *const y = fusion.y ? fusion.y.data<T>() : nullptr;
  T* const dx = to.dx ? to.dx.mutable_data<T>() : nullptr;
  const Tensor turned = dx ? weights_last(w, true) : Tensor{};
  const float* const turned_weights = dx ? turned.data<float>() : nullptr;
  const bool stream = dx && !to.sums && streams<Vector>(dx, p.images * p.height * size, channels);
  const int64_t groups = std::min<int64_t>(32, bands.count), run = rows_of_sums(p.width);
  const Tensor weight_parts = Tensor::zeros({to.dw ? groups : 0, taps + 1, channels}, {.dtype = DType::f64}),
               sum_parts = Tensor::zeros({to.sums ? groups : 0, 2, channels}, {.dtype = DType::f64});
  double *const all_dw = weight_parts.mutable_data<double>(), *const all_sums = sum_parts.mutable_data<double>();
  const int64_t x_room = direct_x || !to.dw ? 0 : k * size, dy_room = direct_dy ? 0 : k * out_size;
  const Scratch scratch(x_room + dy_room + (taps + 1) * channels);

  const auto fill_x = fill_normed<T>(read, p.width, channels);
  parallel_chunks(groups, 1, [&](int64_t group, int64_t) {
    const FlushDenormals flush;
    float *const x_ring = scratch.own(), *const dy_ring = x_ring + x_room, *const products = dy_ring + dy_room;
    for (int64_t band = bands.count * group / groups; band < bands.count * (group + 1) / groups; ++band) {
      const int64_t image = bands.image(band), begin = bands.begin(band), end = bands.end(band);
      const T* const image_y = y ? y + image * p.out_height * out_size : nullptr;
      const auto fill_dy = [&](const T* row, int64_t r, float* out) {
        if (y)
          norm::gradient_rows<T>({image_y + r * out_size, channels}, {row, channels}, p.out_width, channels,
                                 fusion.norm.constants.template data<float>(), fusion.line.template data<float>(),
                                 fusion.norm.act, {out, channels});
        else
          each_lane<float>(0, out_size, [&]<class V>(int64_t i) { store(out + i, load<V>(row + i)); });
      };
      // Rows of dx that are whole once result `end - 1` is known and were not before `begin`.
      int64_t i = begin == 0 ? 0 : std::clamp<int64_t>(begin * s - p.pad_h, 0, p.height);
      const int64_t first_dy = dx ? std::clamp<int64_t>((i + p.pad_h - k + s) / s, 0, begin) : begin;
      Lines<T, decltype(fill_x)> x_lines(x + (x ? image * p.height * size : 0), size, direct_x ? nullptr : x_ring, k,
                                         std::max<int64_t>(0, begin * s - p.pad_h), fill_x);
      Lines<T, decltype(fill_dy)> dy_lines(dz + image * p.out_height * out_size, out_size,
                                           direct_dy ? nullptr : dy_ring, k, first_dy, fill_dy);
      if (to.dw) std::fill_n(products, (taps + 1) * channels, 0.0f);
      int64_t summed = i;
      const auto add_sums = [&](int64_t until) {
        const int64_t at = (image * p.height + summed) * size;
        if (until > summed)
          norm::add_gradient_sums<T, T>({x + at, channels}, {dx + at, channels}, (until - summed) * p.width, channels,
                                        read.constants.template data<float>(), read.act,
                                        all_sums + group * 2 * channels);
        summed = until;
      };
      for (int64_t r = begin; r < end; ++r) {
        if (to.dw) {
          const int64_t top = r * s - p.pad_h, a0 = std::max<int64_t>(0, -top),
                        a1 = std::min<int64_t>(k, p.height - top);
          const float* lines[k] = {};
          for (int64_t a = a0; a < a1; ++a) lines[a] = x_lines.row(top + a);
          add_row<k, s>(p, dy_lines.row(r), lines, a0, a1, products);
        }
        if (!dx) continue;
        const int64_t until =
            r + 1 == p.out_height ? p.height : std::clamp<int64_t>((r + 1) * s - p.pad_h, 0, p.height);
        for (; i < until; ++i)
          data_row<k, s>(p, i, dy_lines, turned_weights, stream, dx + (image * p.height + i) * size);
        if (to.sums && i - summed >= run) add_sums(i);
      }
      if (to.sums) add_sums(i);
      for (int64_t c = 0; to.dw && c < (taps + 1) * channels; ++c)
        all_dw[group * (taps + 1) * channels + c] += static_cast<double>(products[c]);
    }
    if (stream) finish_streams();
  });

  const auto joined = [groups](const double* parts, int64_t step, int64_t i) {
    double sum = 0;
    for (int64_t group = 0; group < groups; ++group) sum += parts[group * step + i];
    return sum;
  };
  for (int64_t i = 0; to.dw && i < taps * channels; ++i)
    to.dw.template mutable_data<float>()[i % channels * taps + i / channels] =
        static_cast<float>(joined(all_dw, (taps + 1) * channels, i));
  for (int64_t c = 0; to.dbias && c < channels; ++c)
    to.dbias.template mutable_data<float>()[c] =
        static_cast<float>(joined(all_dw, (taps + 1) * channels, taps * channels + c));
  for (int64_t i = 0; to.sums && i < 2 * channels; ++i)
    to.sums.template mutable_data<double>()[i] = joined(all_sums, 2 * channels, i);
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

void forward(const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y,
             const ForwardFusion& fusion) {
  with_case(x.dtype(), w.size(2), o.stride[0],
            [&]<int k, int s, class T> { forward<k, s, T>(x, w, data_of(bias), Shape(x, y, o), y, fusion); });
}

void backward(const Tensor& x, const NormAct& read, const Tensor& dz, const GradientFusion& fusion, const Tensor& w,
              const ConvOptions& o, const Gradients& gradients) {
  const Shape shape(x ? x : gradients.dx, dz, o);
  with_case(dz.dtype(), w.size(2), o.stride[0],
            [&]<int k, int s, class T> { backward<k, s, T>(x, read, dz, fusion, w, shape, gradients); });
}

}  // namespace tidepool::depthwise
