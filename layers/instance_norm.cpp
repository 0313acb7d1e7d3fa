// A thread takes whole images, so that sums do not depend on the number of threads. Gradients are set, not added.
#include "layers/instance_norm.h"

#include <cmath>

#include "core/parallel.h"
#include "core/tape.h"

namespace tidepool {
namespace {

struct Map {
  int64_t images, channels, positions;
  bool last;

  explicit Map(const Tensor& x)
      : images(x.size(0)), channels(x.size(1)), positions(1), last(x.format() == MemoryFormat::channels_last) {
    for (int i = 2; i < x.rank(); ++i) positions *= x.size(i);
  }
  /// Calls f(channel, offset) for every element of an image, in memory order.
  template <class F>
  void each(int64_t image, const F& f) const {
    const int64_t at = image * channels * positions;
    if (last) {
      for (int64_t p = 0; p < positions; ++p)
        for (int64_t c = 0; c < channels; ++c) f(c, at + p * channels + c);
    } else {
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t p = 0; p < positions; ++p) f(c, at + c * positions + p);
    }
  }
};

void backward(BackwardContext& ctx) {
  const Tensor &x = ctx.saved(0), &gamma = ctx.saved(1), &statistics = ctx.saved(2);
  const Map m(x);
  const Tensor dy = ctx.dy().to(x.dtype()).contiguous(x.format());
  const Tensor dx = Tensor::empty(x.shape(), x.options());
  const Tensor sums = Tensor::zeros({m.images, 2, m.channels}, {.dtype = DType::f64});
  const TensorOptions like{.dtype = gamma.dtype()};
  const Tensor dgamma = Tensor::empty({m.channels}, like), dbeta = Tensor::empty({m.channels}, like);
  const auto go = [&]<class T>(T) {
    const T *px = x.data<T>(), *pg = dy.data<T>(), *scale = gamma.data<T>();
    T* to = dx.mutable_data<T>();
    const double* known = statistics.data<double>();
    double* all = sums.mutable_data<double>();
    parallel_chunks(m.images, 1, [=](int64_t begin, int64_t end) {
      for (int64_t image = begin; image < end; ++image) {
        const double *mean = known + image * 2 * m.channels, *inverse = mean + m.channels;
        double *by_beta = all + image * 2 * m.channels, *by_gamma = by_beta + m.channels;
        m.each(image, [=](int64_t c, int64_t i) {
          const auto g = static_cast<double>(pg[i]);
          by_beta[c] += g;
          by_gamma[c] += g * (static_cast<double>(px[i]) - mean[c]) * inverse[c];
        });
        const auto n = static_cast<double>(m.positions);
        m.each(image, [=](int64_t c, int64_t i) {
          const double normal = (static_cast<double>(px[i]) - mean[c]) * inverse[c];
          const double rest = static_cast<double>(pg[i]) - (by_beta[c] + normal * by_gamma[c]) / n;
          to[i] = static_cast<T>(static_cast<double>(scale[c]) * inverse[c] * rest);
        });
      }
    });
    T *const to_beta = dbeta.mutable_data<T>(), *const to_gamma = dgamma.mutable_data<T>();
    for (int64_t c = 0; c < m.channels; ++c) {
      double by_beta = 0, by_gamma = 0;
      for (int64_t image = 0; image < m.images; ++image) {
        by_beta += all[image * 2 * m.channels + c];
        by_gamma += all[(image * 2 + 1) * m.channels + c];
      }
      to_beta[c] = static_cast<T>(by_beta);
      to_gamma[c] = static_cast<T>(by_gamma);
    }
  };
  if (x.dtype() == DType::f64)
    go(double{});
  else
    go(float{});
  ctx.dx(0) = dx;
  ctx.dx(1) = dgamma;
  ctx.dx(2) = dbeta;
}

}  // namespace

Tensor instance_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps) {
  if (x.rank() < 3 || x.rank() > 5)
    throw Error("[instance_norm] expected an input N x C x 1 to 3 spatial axes, got the shape {}", x.shape().str());
  if (x.dtype() != DType::f32 && x.dtype() != DType::f64)
    throw Error("[instance_norm] expected an input of f32 or f64, got {}", name_of(x.dtype()));
  if (x.device() != kCpu) throw Failure("instance_norm on cuda is not supported");
  for (const auto& [name, t] : {std::pair("gamma", gamma), std::pair("beta", beta)}) {
    expect_shape("instance_norm", name, t, {x.size(1)});
    if (t.dtype() != x.dtype())
      throw Error("[instance_norm] expected {} of {}, as the input, got {}", name, name_of(x.dtype()),
                  name_of(t.dtype()));
  }
  const Tensor in = x.contiguous(), scale = gamma.contiguous(), shift = beta.contiguous();
  const Map m(in);
  if (m.positions < 1) throw Error("[instance_norm] an input of shape {} has no positions", x.shape().str());
  const Tensor y = Tensor::empty(x.shape(), in.options());
  const Tensor statistics = Tensor::zeros({m.images, 2, m.channels}, {.dtype = DType::f64});
  const auto go = [&]<class T>(T) {
    const T *px = in.data<T>(), *pg = scale.data<T>(), *pb = shift.data<T>();
    T* to = y.mutable_data<T>();
    double* known = statistics.mutable_data<double>();
    parallel_chunks(m.images, 1, [=](int64_t begin, int64_t end) {
      for (int64_t image = begin; image < end; ++image) {
        double *mean = known + image * 2 * m.channels, *inverse = mean + m.channels;
        const auto n = static_cast<double>(m.positions);
        m.each(image, [=](int64_t c, int64_t i) { mean[c] += static_cast<double>(px[i]); });
        for (int64_t c = 0; c < m.channels; ++c) mean[c] /= n;
        m.each(image, [=](int64_t c, int64_t i) {
          const double d = static_cast<double>(px[i]) - mean[c];
          inverse[c] += d * d;
        });
        for (int64_t c = 0; c < m.channels; ++c) inverse[c] = 1 / std::sqrt(inverse[c] / n + eps);
        m.each(image, [=](int64_t c, int64_t i) {
          const double normal = (static_cast<double>(px[i]) - mean[c]) * inverse[c];
          to[i] = static_cast<T>(normal * static_cast<double>(pg[c]) + static_cast<double>(pb[c]));
        });
      }
    });
  };
  if (x.dtype() == DType::f64)
    go(double{});
  else
    go(float{});
  Tape::record("instance_norm", {x, gamma, beta}, {y}, {in, scale, statistics}, backward);
  return y;
}

}  // namespace tidepool
