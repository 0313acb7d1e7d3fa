// The batch norm's kernels and the instance norm. Of the latter a thread takes whole images, so that sums do not depend
// on the number of threads.
#include <cmath>

#include "core/parallel.h"
#include "core/reference/activation.h"
#include "core/reference/elements.h"
#include "core/reference/tables.h"
#include "core/sums.h"

namespace tidepool::reference {
namespace {

bool moments(const Tensor& x, const Tensor& result) {
  const MapShape m(x);
  const Elements in(x);
  const Results out(result);
  const auto count = static_cast<double>(m.images * m.positions);
  for (int64_t c = 0; c < m.channels; ++c) {
    double sum = 0, squares = 0;
    for (int64_t n = 0; n < m.images; ++n)
      for (int64_t p = 0; p < m.positions; ++p) sum += in[m.at(n, c, p)];
    const double mean = sum / count;
    for (int64_t n = 0; n < m.images; ++n)
      for (int64_t p = 0; p < m.positions; ++p) {
        const double d = in[m.at(n, c, p)] - mean;
        squares += d * d;
      }
    out.set(c, mean);
    out.set(m.channels + c, squares);
  }
  return true;
}

bool join_moments(const Tensor& parts, const Tensor& counts, const Tensor& result) {
  const int64_t chunks = parts.size(0), channels = parts.size(2);
  const Elements part(parts), count(counts);
  const Results out(result);
  for (int64_t c = 0; c < channels; ++c) {
    double total = 0, sum = 0, squares = 0;
    for (int64_t i = 0; i < chunks; ++i) {
      total += count[i];
      sum += count[i] * part[2 * i * channels + c];
    }
    const double mean = sum / total;
    for (int64_t i = 0; i < chunks; ++i) {
      const double d = part[2 * i * channels + c] - mean;
      squares += part[(2 * i + 1) * channels + c] + count[i] * d * d;
    }
    out.set(c, mean);
    out.set(channels + c, squares);
  }
  return true;
}

bool statistics(const Tensor& moments, double count, const BatchNormParameters& p, const BatchNormOptions& o,
                const Tensor& stats, const Tensor& constants) {
  const int64_t channels = p.gamma.size(0);
  double *mean = stats.mutable_data<double>(), *inv_std = mean + channels;
  dispatch_floating(p.gamma.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    A *mean_kept = p.running_mean.mutable_data<A>(), *var_kept = p.running_var.mutable_data<A>();
    if (moments) {
      const double *batch_mean = moments.data<double>(), *squares = batch_mean + channels, n = count;
      for (int64_t c = 0; c < channels; ++c) {
        mean[c] = batch_mean[c];
        mean_kept[c] = static_cast<A>((1 - o.momentum) * static_cast<double>(mean_kept[c]) + o.momentum * mean[c]);
        var_kept[c] =
            static_cast<A>((1 - o.momentum) * static_cast<double>(var_kept[c]) + o.momentum * (squares[c] / (n - 1)));
        inv_std[c] = 1 / std::sqrt(squares[c] / n + o.eps);
      }
    } else {
      for (int64_t c = 0; c < channels; ++c) {
        mean[c] = static_cast<double>(mean_kept[c]);
        inv_std[c] = 1 / std::sqrt(static_cast<double>(var_kept[c]) + o.eps);
      }
    }
    const A *gamma = p.gamma.data<A>(), *beta = p.beta.data<A>();
    A *m = constants.mutable_data<A>(), *scale = m + channels, *shift = scale + channels;
    for (int64_t c = 0; c < channels; ++c) {
      m[c] = static_cast<A>(mean[c]);
      scale[c] = static_cast<A>(static_cast<double>(gamma[c]) * inv_std[c]);
      shift[c] = static_cast<A>(static_cast<double>(beta[c]) +
                                (static_cast<double>(m[c]) - mean[c]) * static_cast<double>(scale[c]));
    }
  });
  return true;
}

// The norm's value at an element, from the three rows of its constants.
struct Affine {
  MapShape m;
  Elements x, k;

  Affine(const Tensor& map, const Tensor& constants) : m(map), x(map), k(constants) {}
  double centred(int64_t i) const { return x[i] - k[m.channel(i)]; }
  double value(int64_t i) const {
    const int64_t c = m.channel(i);
    return centred(i) * k[m.channels + c] + k[2 * m.channels + c];
  }
};

bool apply(const Tensor& x, const Tensor& constants, Act act, const Tensor& y) {
  const Affine norm(x, constants);
  const Results out(y);
  for (int64_t i = 0; i < out.size(); ++i) out.set(i, act_value(act, norm.value(i)));
  return true;
}

bool gradient_sums(const Tensor& x, const Tensor& dy, const Tensor& constants, Act act, const Tensor& sums) {
  const Affine norm(x, constants);
  const Elements g(dy);
  const Results out(sums);
  const MapShape& m = norm.m;
  for (int64_t c = 0; c < m.channels; ++c) {
    double sum = 0, product = 0;
    for (int64_t n = 0; n < m.images; ++n)
      for (int64_t p = 0; p < m.positions; ++p) {
        const int64_t i = m.at(n, c, p);
        const double d = g[i] * act_slope(act, norm.value(i));
        sum += d;
        product += d * norm.centred(i);
      }
    out.set(c, sum);
    out.set(m.channels + c, product);
  }
  return true;
}

bool join_sums(const Tensor& parts, const Tensor& sums) {
  const int64_t length = 2 * parts.size(2);
  const Elements part(parts);
  const Results out(sums);
  for (int64_t c = 0; c < length; ++c) {
    double sum = 0;
    for (int64_t i = 0; i < parts.size(0); ++i) sum += part[i * length + c];
    out.set(c, sum);
  }
  return true;
}

bool parameter_gradient(const Tensor& sums, double n, const Tensor& stats, const Tensor& constants, bool training,
                        const Tensor& dgamma_to, const Tensor& dbeta_to, const Tensor& line) {
  const int64_t channels = stats.size(1);
  const double *mean = stats.data<double>(), *inv_std = mean + channels;
  dispatch_floating(constants.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    const A *rounded_mean = constants.data<A>(), *scales = rounded_mean + channels;
    A *slope = line.mutable_data<A>(), *offset = slope + channels;
    A *const to_gamma = dgamma_to.mutable_data<A>(), *const to_beta = dbeta_to.mutable_data<A>();
    const double* sum = sums.data<double>();
    for (int64_t c = 0; c < channels; ++c) {
      const double lost = static_cast<double>(rounded_mean[c]) - mean[c];
      const double dgamma = (sum[channels + c] + lost * sum[c]) * inv_std[c], scale = static_cast<double>(scales[c]);
      to_gamma[c] = static_cast<A>(dgamma);
      to_beta[c] = static_cast<A>(sum[c]);
      const double s = training && n > 0 ? -scale * inv_std[c] * dgamma / n : 0.0;
      slope[c] = static_cast<A>(s);
      offset[c] = static_cast<A>(training && n > 0 ? -scale * sum[c] / n + s * lost : 0.0);
    }
  });
  return true;
}

bool apply_gradient(const Tensor& x, const Tensor& dy, const Tensor& constants, const Tensor& line, Act act,
                    const Tensor& dx) {
  const Affine norm(x, constants);
  const Elements g(dy), lines(line);
  const Results out(dx);
  const int64_t channels = norm.m.channels;
  for (int64_t i = 0; i < out.size(); ++i) {
    const int64_t c = norm.m.channel(i);
    out.set(i, g[i] * act_slope(act, norm.value(i)) * norm.k[channels + c] + norm.centred(i) * lines[c] +
                   lines[channels + c]);
  }
  return true;
}

// -- instance norm: dense maps ---------------------------------------------------------------------------------------

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

bool instance_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps, const Tensor& y,
                   const Tensor& stats) {
  const Map m(x);
  stats.fill(0.0);
  dispatch_floating(x.dtype(), "instance_norm", [&]<class T>(T) {
    const T *px = x.data<T>(), *pg = gamma.data<T>(), *pb = beta.data<T>();
    T* to = y.mutable_data<T>();
    double* known = stats.mutable_data<double>();
    parallel_chunks(m.images, 1, [=](int64_t begin, int64_t end) {
      for (int64_t image = begin; image < end; ++image) {
        double *mean = known + image * 2 * m.channels, *inverse = mean + m.channels;
        const auto n = static_cast<double>(m.positions);
        m.each(image, [=](int64_t c, int64_t i) { mean[c] += load_exact(px + i); });
        for (int64_t c = 0; c < m.channels; ++c) mean[c] /= n;
        m.each(image, [=](int64_t c, int64_t i) {
          const double d = load_exact(px + i) - mean[c];
          inverse[c] += d * d;
        });
        for (int64_t c = 0; c < m.channels; ++c) inverse[c] = 1 / std::sqrt(inverse[c] / n + eps);
        m.each(image, [=](int64_t c, int64_t i) {
          const double normal = (load_exact(px + i) - mean[c]) * inverse[c];
          to[i] = static_cast<T>(static_cast<Acc<T>>(normal * load_exact(pg + c) + load_exact(pb + c)));
        });
      }
    });
  });
  return true;
}

bool instance_norm_backward(const Tensor& x, const Tensor& gamma, const Tensor& stats, const Tensor& dy,
                            const Tensor& dx, const Tensor& dgamma, const Tensor& dbeta) {
  const Map m(x);
  const Tensor sums = Tensor::zeros({m.images, 2, m.channels}, {.dtype = DType::f64});
  dispatch_floating(x.dtype(), "instance_norm", [&]<class T>(T) {
    const T *px = x.data<T>(), *pg = dy.data<T>(), *scale = gamma.data<T>();
    T* to = dx.mutable_data<T>();
    const double* known = stats.data<double>();
    double* all = sums.mutable_data<double>();
    parallel_chunks(m.images, 1, [=](int64_t begin, int64_t end) {
      for (int64_t image = begin; image < end; ++image) {
        const double *mean = known + image * 2 * m.channels, *inverse = mean + m.channels;
        double *by_beta = all + image * 2 * m.channels, *by_gamma = by_beta + m.channels;
        m.each(image, [=](int64_t c, int64_t i) {
          const auto g = load_exact(pg + i);
          by_beta[c] += g;
          by_gamma[c] += g * (load_exact(px + i) - mean[c]) * inverse[c];
        });
        const auto n = static_cast<double>(m.positions);
        m.each(image, [=](int64_t c, int64_t i) {
          const double normal = (load_exact(px + i) - mean[c]) * inverse[c];
          const double rest = load_exact(pg + i) - (by_beta[c] + normal * by_gamma[c]) / n;
          to[i] = static_cast<T>(static_cast<Acc<T>>(load_exact(scale + c) * inverse[c] * rest));
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
      to_beta[c] = static_cast<T>(static_cast<Acc<T>>(by_beta));
      to_gamma[c] = static_cast<T>(static_cast<Acc<T>>(by_gamma));
    }
  });
  return true;
}

}  // namespace

const NormTable kNorm{.name = "reference",
                      .moments = moments,
                      .join_moments = join_moments,
                      .statistics = statistics,
                      .batch_statistics = nullptr,
                      .apply = apply,
                      .gradient_sums = gradient_sums,
                      .join_sums = join_sums,
                      .parameter_gradient = parameter_gradient,
                      .batch_gradient = nullptr,
                      .apply_gradient = apply_gradient,
                      .instance_norm = instance_norm,
                      .instance_norm_backward = instance_norm_backward};

}  // namespace tidepool::reference
