// The passes of a batch norm, and the instance norm. Sums are in f64.
#include "core/backend/norm.h"

#include <cmath>

#include "core/cuda/kernels/act.h"
#include "core/cuda/kernels/columns.h"
#include "core/cuda/tables.h"

namespace tidepool::cuda {
namespace {

// Sums of the differences from a channel's first element and of their squares: no digits cancel where a mean is large.
template <class T>
struct Differences {
  const T* x;
  Columns m;

  template <int n>
  TP_HD void operator()(uint32_t at, uint32_t channel, double (&sum)[n], double (&squares)[n]) const {
    const Pack<T, n> v = load_pack<n>(x, at);
    const uint32_t o = m.of_image ? at / (m.rows * m.channels) : 0;
    TP_UNROLL
    for (int k = 0; k < n; ++k) {
      const double d = static_cast<double>(value_of(v.v[k])) -
                       static_cast<double>(value_of(x[m.at(o, 0, channel + static_cast<uint32_t>(k))]));
      sum[k] += d;
      squares[k] += d * d;
    }
  }
};

// out [outer][2][channels]: mean, and the sum of squared differences from it, or the inverse standard deviation.
template <class T>
struct SetMoments {
  const T* x;
  Columns m;
  double* out;
  double eps;  // < 0: no deviation

  TP_HD void operator()(uint32_t o, uint32_t channel, double sum, double squares) const {
    const double count = m.rows, first = static_cast<double>(value_of(x[m.at(o, 0, channel)]));
    double* const to = out + size_t{o} * 2 * m.channels + channel;
    const double about_mean = squares - sum * (sum / count), least = about_mean < 0 ? 0 : about_mean;
    to[0] = first + sum / count;
    to[m.channels] = eps < 0 ? least : 1 / sqrt(least / count + eps);
  }
};

bool moments(const Tensor& x, const Tensor& result) {
  const Columns m = Columns::of_batch(x);
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>(T) {
    sum_columns<T>(m, {x.raw()}, Differences<T>{x.data<T>(), m},
                   SetMoments<T>{x.data<T>(), m, result.mutable_data<double>(), -1});
  });
  return true;
}

struct JoinMoments {
  const double *parts, *counts;
  double* out;
  uint32_t chunks, channels;

  TP_HD void operator()(uint32_t c) const {
    double total = 0, sum = 0, squares = 0;
    for (uint32_t i = 0; i < chunks; ++i) {
      total += counts[i];
      sum += counts[i] * parts[2 * size_t{i} * channels + c];
    }
    const double mean = sum / total;
    for (uint32_t i = 0; i < chunks; ++i) {
      const double d = parts[2 * size_t{i} * channels + c] - mean;
      squares += parts[(2 * size_t{i} + 1) * channels + c] + counts[i] * d * d;
    }
    out[c] = mean;
    out[channels + c] = squares;
  }
};

bool join_moments(const Tensor& parts, const Tensor& counts, const Tensor& result) {
  launch_each(parts.size(2), JoinMoments{parts.data<double>(), counts.data<double>(), result.mutable_data<double>(),
                                         narrow(parts.size(0)), narrow(parts.size(2))});
  return true;
}

template <class A>
struct Statistics {
  const double* moments;  // null: the running ones
  double count, momentum, eps;
  A *running_mean, *running_var;
  double* stats;
  uint32_t channels;

  TP_HD void operator()(uint32_t c) const {
    double mean = static_cast<double>(running_mean[c]), variance = static_cast<double>(running_var[c]);
    if (moments) {
      const double squares = moments[channels + c];
      running_mean[c] = static_cast<A>((1 - momentum) * mean + momentum * moments[c]);
      running_var[c] = static_cast<A>((1 - momentum) * variance + momentum * (squares / (count - 1)));
      mean = moments[c];
      variance = squares / count;
    }
    stats[c] = mean;
    stats[channels + c] = 1 / sqrt(variance + eps);
  }
};

bool statistics(const Tensor& moments, double count, const Tensor& running_mean, const Tensor& running_var,
                const BatchNormOptions& o, const Tensor& stats) {
  dispatch_floating(running_mean.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    const int64_t channels = running_mean.size(0);
    launch_each(channels, Statistics<A>{moments ? moments.data<double>() : nullptr, count, o.momentum, o.eps,
                                        running_mean.mutable_data<A>(), running_var.mutable_data<A>(),
                                        stats.mutable_data<double>(), narrow(channels)});
  });
  return true;
}

template <class A>
struct Constants {
  const double* stats;
  const A *gamma, *beta;
  A* to;
  uint32_t channels;

  TP_HD void operator()(uint32_t c) const {
    const double mean = stats[c];
    const A rounded_mean = static_cast<A>(mean);
    const A scale = static_cast<A>(static_cast<double>(gamma[c]) * stats[channels + c]);
    to[c] = rounded_mean;
    to[channels + c] = scale;
    to[2 * channels + c] = static_cast<A>(static_cast<double>(beta[c]) +
                                          (static_cast<double>(rounded_mean) - mean) * static_cast<double>(scale));
  }
};

bool constants(const Tensor& stats, const Tensor& gamma, const Tensor& beta, const Tensor& result) {
  dispatch_floating(gamma.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    const int64_t channels = stats.size(1);
    launch_each(channels, Constants<A>{stats.data<double>(), gamma.data<A>(), beta.data<A>(), result.mutable_data<A>(),
                                       narrow(channels)});
  });
  return true;
}

// The constants of n channels from `channel` on; of plain memory all are of one channel.
template <class A>
struct OfChannels {
  const A* rows;  // mean, scale, shift
  uint32_t channels;

  TP_HD TP_INLINE A row(uint32_t which, uint32_t channel) const { return rows[which * channels + channel]; }
};

template <class T, int n>
struct Apply {
  using A = Acc<T>;
  const T* x;
  OfChannels<A> k;
  T* y;
  Map map;
  Act act;

  TP_HD void operator()(uint32_t i) const {
    Pack<T, n> v = load_pack<n>(x, i * n);
    const uint32_t first = map.channel(i * n);
    TP_UNROLL
    for (int j = 0; j < n; ++j) {
      const uint32_t c = map.last ? first + static_cast<uint32_t>(j) : first;
      v.v[j] = rounded<T>(act_value(act, (value_of(v.v[j]) - k.row(0, c)) * k.row(1, c) + k.row(2, c)));
    }
    store_pack<n>(y, i * n, v);
  }
};

int64_t run_of(const Map& map) {
  return map.last ? map.channels : map.positions;
}

bool apply(const Tensor& x, const Tensor& constants, Act act, const Tensor& y) {
  const Map map(x);
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    dispatch_pack<T>(run_of(map), {x.raw(), y.raw()}, [&](auto n) {
      launch_each(x.numel() / n,
                  Apply<T, n>{x.data<T>(), {constants.data<A>(), map.channels}, y.mutable_data<T>(), map, act});
    });
  });
  return true;
}

template <class T>
struct GradientTerms {
  using A = Acc<T>;
  const T *x, *dy;
  OfChannels<A> k;
  Act act;
  bool last;

  template <int n>
  TP_HD void operator()(uint32_t at, uint32_t channel, double (&sum)[n], double (&product)[n]) const {
    const Pack<T, n> v = load_pack<n>(x, at), g = load_pack<n>(dy, at);
    TP_UNROLL
    for (int j = 0; j < n; ++j) {
      const uint32_t c = channel + static_cast<uint32_t>(j);
      const A centred = value_of(v.v[j]) - k.row(0, c);
      const A d = act_gradient<T>(act, value_of(g.v[j]), centred * k.row(1, c) + k.row(2, c));
      sum[j] += static_cast<double>(d);
      product[j] += static_cast<double>(d) * static_cast<double>(centred);
    }
  }
};
struct SetSums {
  double* out;
  uint32_t channels;

  TP_HD void operator()(uint32_t o, uint32_t channel, double sum, double other) const {
    out[size_t{o} * 2 * channels + channel] = sum;
    out[(size_t{o} * 2 + 1) * channels + channel] = other;
  }
};

bool gradient_sums(const Tensor& x, const Tensor& dy, const Tensor& constants, Act act, const Tensor& sums) {
  const Columns m = Columns::of_batch(x);
  if (x.numel() == 0) {
    sums.fill(0);
    return true;
  }
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    sum_columns<T>(m, {x.raw(), dy.raw()},
                   GradientTerms<T>{x.data<T>(), dy.data<T>(), {constants.data<A>(), m.channels}, act, m.last},
                   SetSums{sums.mutable_data<double>(), m.channels});
  });
  return true;
}

bool join_sums(const Tensor& parts, const Tensor& sums) {
  const uint32_t channels = narrow(parts.size(2));
  launch_join(parts.data<double>(), 1, narrow(parts.size(0)), channels, SetSums{sums.mutable_data<double>(), channels});
  return true;
}

template <class A>
struct ParameterGradient {
  const double *sums, *stats;
  const A* constants;
  A *to_gamma, *to_beta, *line;
  double count;  // 0: the running statistics were used, or there are no values
  uint32_t channels;

  TP_HD void operator()(uint32_t c) const {
    const double inverse = stats[channels + c], lost = static_cast<double>(constants[c]) - stats[c];
    const double dgamma = (sums[channels + c] + lost * sums[c]) * inverse;
    const double scale = static_cast<double>(constants[channels + c]);
    to_gamma[c] = static_cast<A>(dgamma);
    to_beta[c] = static_cast<A>(sums[c]);
    const double slope = count > 0 ? -scale * inverse * dgamma / count : 0.0;
    line[c] = static_cast<A>(slope);
    line[channels + c] = static_cast<A>(count > 0 ? -scale * sums[c] / count + slope * lost : 0.0);
  }
};

bool parameter_gradient(const Tensor& sums, double n, const Tensor& stats, const Tensor& constants, bool training,
                        const Tensor& dgamma, const Tensor& dbeta, const Tensor& line) {
  dispatch_floating(constants.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    const int64_t channels = stats.size(1);
    launch_each(channels, ParameterGradient<A>{sums.data<double>(), stats.data<double>(), constants.data<A>(),
                                               dgamma.mutable_data<A>(), dbeta.mutable_data<A>(),
                                               line.mutable_data<A>(), training ? n : 0, narrow(channels)});
  });
  return true;
}

template <class T, int n>
struct ApplyGradient {
  using A = Acc<T>;
  const T *x, *dy;
  OfChannels<A> k, line;
  T* dx;
  Map map;
  Act act;

  TP_HD void operator()(uint32_t i) const {
    const Pack<T, n> v = load_pack<n>(x, i * n);
    Pack<T, n> g = load_pack<n>(dy, i * n);
    const uint32_t first = map.channel(i * n);
    TP_UNROLL
    for (int j = 0; j < n; ++j) {
      const uint32_t c = map.last ? first + static_cast<uint32_t>(j) : first;
      const A centred = value_of(v.v[j]) - k.row(0, c), scale = k.row(1, c);
      const A d = act_gradient<T>(act, value_of(g.v[j]), centred * scale + k.row(2, c));
      g.v[j] = rounded<T>(d * scale + (centred * line.row(0, c) + line.row(1, c)));
    }
    store_pack<n>(dx, i * n, g);
  }
};

bool apply_gradient(const Tensor& x, const Tensor& dy, const Tensor& constants, const Tensor& line, Act act,
                    const Tensor& dx) {
  const Map map(x);
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    dispatch_pack<T>(run_of(map), {x.raw(), dy.raw(), dx.raw()}, [&](auto n) {
      launch_each(x.numel() / n, ApplyGradient<T, n>{x.data<T>(),
                                                     dy.data<T>(),
                                                     {constants.data<A>(), map.channels},
                                                     {line.data<A>(), map.channels},
                                                     dx.mutable_data<T>(),
                                                     map,
                                                     act});
    });
  });
  return true;
}

// -- instance norm: the same sums, of every image by itself -----------------------------------------------------------

template <class T>
struct NormaliseInstance {
  const T *x, *gamma, *beta;
  const double* stats;
  T* y;
  Map map;

  TP_HD void operator()(uint32_t i) const {
    const uint32_t c = map.channel(i);
    const double* const known = stats + size_t{map.image(i)} * 2 * map.channels + c;
    const double normal = (static_cast<double>(value_of(x[i])) - known[0]) * known[map.channels];
    y[i] = rounded<T>(normal * static_cast<double>(value_of(gamma[c])) + static_cast<double>(value_of(beta[c])));
  }
};

bool instance_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps, const Tensor& y,
                   const Tensor& stats) {
  const Columns m = Columns::of_images(x);
  dispatch_floating(x.dtype(), "instance_norm", [&]<class T>(T) {
    double* const known = stats.mutable_data<double>();
    sum_columns<T>(m, {x.raw()}, Differences<T>{x.data<T>(), m}, SetMoments<T>{x.data<T>(), m, known, eps});
    launch_each(x.numel(),
                NormaliseInstance<T>{x.data<T>(), gamma.data<T>(), beta.data<T>(), known, y.mutable_data<T>(), Map(x)});
  });
  return true;
}

template <class T>
struct InstanceTerms {
  const T *x, *dy;
  const double* stats;
  Map map;

  template <int n>
  TP_HD void operator()(uint32_t at, uint32_t channel, double (&by_beta)[n], double (&by_gamma)[n]) const {
    const Pack<T, n> v = load_pack<n>(x, at), g = load_pack<n>(dy, at);
    const double* const known = stats + size_t{map.image(at)} * 2 * map.channels + channel;
    TP_UNROLL
    for (int k = 0; k < n; ++k) {
      const double d = static_cast<double>(value_of(g.v[k]));
      by_beta[k] += d;
      by_gamma[k] +=
          d * (static_cast<double>(value_of(v.v[k])) - known[k]) * known[map.channels + static_cast<uint32_t>(k)];
    }
  }
};

template <class T>
struct InstanceGradient {
  const T *x, *dy, *gamma;
  const double *stats, *sums;
  T* dx;
  Map map;

  TP_HD void operator()(uint32_t i) const {
    const uint32_t c = map.channel(i);
    const size_t at = size_t{map.image(i)} * 2 * map.channels + c;
    const double inverse = stats[at + map.channels];
    const double normal = (static_cast<double>(value_of(x[i])) - stats[at]) * inverse;
    const double rest =
        static_cast<double>(value_of(dy[i])) - (sums[at] + normal * sums[at + map.channels]) / map.positions;
    dx[i] = rounded<T>(static_cast<double>(value_of(gamma[c])) * inverse * rest);
  }
};

template <class T>
struct SetInstanceParameters {
  T *dgamma, *dbeta;

  TP_HD void operator()(uint32_t /*outer*/, uint32_t channel, double by_beta, double by_gamma) const {
    dbeta[channel] = rounded<T>(by_beta);
    dgamma[channel] = rounded<T>(by_gamma);
  }
};

bool instance_norm_backward(const Tensor& x, const Tensor& gamma, const Tensor& stats, const Tensor& dy,
                            const Tensor& dx, const Tensor& dgamma, const Tensor& dbeta) {
  const Columns m = Columns::of_images(x);
  const Map map(x);
  const Tensor sums = Tensor::empty({x.size(0), 2, x.size(1)}, {.dtype = DType::f64, .device = x.device()});
  dispatch_floating(x.dtype(), "instance_norm", [&]<class T>(T) {
    const double* const known = stats.data<double>();
    double* const all = sums.mutable_data<double>();
    sum_columns<T>(m, {x.raw(), dy.raw()}, InstanceTerms<T>{x.data<T>(), dy.data<T>(), known, map},
                   SetSums{all, m.channels});
    launch_each(x.numel(),
                InstanceGradient<T>{x.data<T>(), dy.data<T>(), gamma.data<T>(), known, all, dx.mutable_data<T>(), map});
    launch_join(all, 1, m.outer, m.channels,
                SetInstanceParameters<T>{dgamma.mutable_data<T>(), dbeta.mutable_data<T>()});
  });
  return true;
}

}  // namespace

const NormTable kNorm{.name = "kernels",
                      .moments = moments,
                      .join_moments = join_moments,
                      .statistics = statistics,
                      .constants = constants,
                      .apply = apply,
                      .gradient_sums = gradient_sums,
                      .join_sums = join_sums,
                      .parameter_gradient = parameter_gradient,
                      .apply_gradient = apply_gradient,
                      .instance_norm = instance_norm,
                      .instance_norm_backward = instance_norm_backward};

}  // namespace tidepool::cuda
