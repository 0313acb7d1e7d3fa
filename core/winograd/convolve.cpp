#include "core/winograd/convolve.h"

#include "core/parallel.h"
#include "core/winograd/drivers.h"

namespace tidepool::winograd {
namespace {

// A register's worth of f32.
#if defined(__AVX512F__)
using V = tidepool::detail::VectorOf<float, 16>::type;
#elif defined(__AVX__)
using V = tidepool::detail::VectorOf<float, 8>::type;
#else
using V = tidepool::detail::VectorOf<float, 4>::type;
#endif

Problem problem_of(const Tensor& x, const Tensor& w, const ConvOptions& o) {
  return {x.size(0), w.size(1), w.size(0), x.size(2), x.size(3), o.padding[0], o.padding[1]};
}

// Calls f.operator()<T>().
template <class F>
void with_type(DType dtype, const F& f) {
  if (dtype == DType::bf16)
    f.template operator()<bf16>();
  else
    f.template operator()<float>();
}

Norm norm_of(const NormConstants& constants) {
  if (!constants) return {};
  const float* rows = constants.data<float>();
  return {rows, rows + constants.size(1), rows + 2 * constants.size(1)};
}

template <class T, class F>
void with_source(const Tensor& x, const NormConstants& read, const F& f) {
  if (read)
    f(NormSource<T>{x.data<T>(), x.size(1), norm_of(read)});
  else
    f(PlainSource<T>{x.data<T>(), x.size(1)});
}

template <class T, class F>
void with_gradient(const Tensor& dz, const GradientFusion& fusion, const F& f) {
  const int64_t channels = dz.size(1);
  if (!fusion.y) return f(PlainSource<T>{dz.data<T>(), channels});
  const float* line = fusion.line.data<float>();
  f(NormGradientSource<T>{dz.data<T>(), fusion.y.data<T>(), channels, norm_of(fusion.constants), line,
                          line + channels});
}

// dbias[c] = the sum of dy over images and positions, in f64 over chunks whose order is fixed.
template <class T>
void sum_channels(const T* dy, int64_t positions, int64_t channels, float* dbias) {
  const int64_t grain = std::max<int64_t>(64, 65536 / channels), chunks = (positions + grain - 1) / grain;
  const Tensor parts = Tensor::empty({chunks, channels}, {.dtype = DType::f64});
  double* const all = parts.data<double>();
  parallel_chunks(positions, grain, [&](int64_t begin, int64_t end) {
    double* const sums = all + begin / grain * channels;
    std::fill(sums, sums + channels, 0.0);
    for (int64_t i = begin; i < end; ++i)
      for (int64_t c = 0; c < channels; ++c) sums[c] += static_cast<double>(static_cast<float>(dy[i * channels + c]));
  });
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0;
    for (int64_t i = 0; i < chunks; ++i) sum += all[i * channels + c];
    dbias[c] = static_cast<float>(sum);
  }
}

}  // namespace

WeightCache<PanelLayout>& transformed_weights() {
  using Cache = WeightCache<PanelLayout>;
  static Cache* cache = new Cache(Cache::From::second_use, size_t{256} << 20);
  return *cache;
}

bool serves(const Tensor& map, const Tensor& w, const ConvOptions& o) {
  if (map.device() != kCpu || map.rank() != 4 || o.groups != 1) return false;
  if (map.dtype() != DType::f32 && map.dtype() != DType::bf16) return false;
  if (w.dtype() != DType::f32 || w.size(2) != 3 || w.size(3) != 3) return false;
  for (size_t a = 0; a < 2; ++a)
    if (o.stride[a] != 1 || o.dilation[a] != 1 || o.padding[a] < 0 || o.padding[a] > 2) return false;
  return map.is_contiguous(MemoryFormat::channels_last);
}

void conv_forward(int m, const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y,
                  const ForwardFusion& fusion) {
  const Problem p = problem_of(x, w, o);
  with_type(x.dtype(), [&]<class T> {
    const Target<T> target{y.data<T>(), p.outputs, bias ? bias.data<float>() : nullptr, norm_of(fusion.write)};
    with_source<T>(x, fusion.read, [&](const auto& source) {
      filter<V>(m, FilterProblem::of(Direction::forward, p), source, w, target, fusion.moments);
    });
  });
}

void conv_backward_data(int m, const Tensor& dz, const Tensor& w, const ConvOptions& o, const Tensor& dx,
                        const GradientFusion& fusion) {
  const Problem p = problem_of(dx, w, o);
  with_type(dx.dtype(), [&]<class T> {
    with_gradient<T>(dz, fusion, [&](const auto& source) {
      filter<V>(m, FilterProblem::of(Direction::backward_data, p), source, w, Target<T>{dx.data<T>(), p.inputs});
    });
  });
}

void conv_backward_weights(int m, const Tensor& x, const Tensor& dz, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias, const NormConstants& read, const GradientFusion& fusion) {
  const Problem p = problem_of(x, dw, o);
  with_type(x.dtype(), [&]<class T> {
    with_source<T>(x, read, [&](const auto& source) {
      with_gradient<T>(dz, fusion,
                       [&](const auto& gradient) { weight_gradient<V>(m, p, source, gradient, dw.data<float>()); });
    });
    if (dbias) sum_channels(dz.data<T>(), p.images * p.out_height() * p.out_width(), p.outputs, dbias.data<float>());
  });
}

}  // namespace tidepool::winograd
