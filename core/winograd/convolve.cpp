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

// Calls f.operator()<m, T>().
template <class F>
void with_kind(int m, DType dtype, const F& f) {
  const auto typed = [&]<int size> {
    if (dtype == DType::bf16)
      f.template operator()<size, bf16>();
    else
      f.template operator()<size, float>();
  };
  if (m == 4)
    typed.template operator()<4>();
  else
    typed.template operator()<2>();
}

// dbias[c] = the sum of dy over images and places, in f64 over chunks whose order is fixed.
template <class T>
void sum_channels(const T* dy, int64_t places, int64_t channels, float* dbias) {
  const int64_t grain = std::max<int64_t>(64, 65536 / channels), chunks = (places + grain - 1) / grain;
  const Tensor parts = Tensor::empty({chunks, channels}, {.dtype = DType::f64});
  double* const all = parts.data<double>();
  parallel_chunks(places, grain, [&](int64_t begin, int64_t end) {
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

bool serves(const Tensor& map, const Tensor& w, const ConvOptions& o) {
  if (map.device() != kCpu || map.rank() != 4 || o.groups != 1) return false;
  if (map.dtype() != DType::f32 && map.dtype() != DType::bf16) return false;
  if (w.dtype() != DType::f32 || w.size(2) != 3 || w.size(3) != 3) return false;
  for (size_t a = 0; a < 2; ++a)
    if (o.stride[a] != 1 || o.dilation[a] != 1 || o.padding[a] < 0 || o.padding[a] > 2) return false;
  return map.is_contiguous(MemoryFormat::channels_last);
}

void conv_forward(int m, const Tensor& x, const Tensor& w, const Tensor& bias, const ConvOptions& o, const Tensor& y) {
  const Problem p = problem_of(x, w, o);
  with_kind(m, x.dtype(), [&]<int size, class T> {
    filter<size, V>(Pass::of(Direction::forward, p), PlainSource<T>{x.data<T>(), p.inputs}, w.data<float>(),
                    bias ? bias.data<float>() : nullptr, y.data<T>());
  });
}

void conv_backward_data(int m, const Tensor& dy, const Tensor& w, const ConvOptions& o, const Tensor& dx) {
  const Problem p = problem_of(dx, w, o);
  with_kind(m, dx.dtype(), [&]<int size, class T> {
    filter<size, V>(Pass::of(Direction::backward_data, p), PlainSource<T>{dy.data<T>(), p.outputs}, w.data<float>(),
                    nullptr, dx.data<T>());
  });
}

void conv_backward_weights(int m, const Tensor& x, const Tensor& dy, const ConvOptions& o, const Tensor& dw,
                           const Tensor& dbias) {
  const Problem p = problem_of(x, dw, o);
  with_kind(m, x.dtype(), [&]<int size, class T> {
    weight_gradient<size, V>(p, PlainSource<T>{x.data<T>(), p.inputs}, PlainSource<T>{dy.data<T>(), p.outputs},
                             dw.data<float>());
    if (dbias) sum_channels(dy.data<T>(), p.images * p.out_height() * p.out_width(), p.outputs, dbias.data<float>());
  });
}

}  // namespace tidepool::winograd
