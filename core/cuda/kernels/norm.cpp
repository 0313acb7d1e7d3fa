// The kernels of a batch norm, and the instance norm. Sums are in f64.
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

// Of a channel, from the sums of its differences: its mean, and the sum of squares about it.
struct Moments {
  double mean, squares;

  template <class T>
  TP_HD Moments(const T* x, const Columns& m, uint32_t o, uint32_t channel, double sum, double about_first) {
    const double count = m.rows, about_mean = about_first - sum * (sum / count);
    mean = static_cast<double>(value_of(x[m.at(o, 0, channel)])) + sum / count;
    squares = about_mean < 0 ? 0 : about_mean;
  }
};

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
  double count, momentum, eps;
  const A *gamma, *beta;
  A *running_mean, *running_var;
  double* stats;
  A* constants;
  uint32_t channels;

  Statistics(const BatchNormParameters& p, double count_, const BatchNormOptions& o, const Tensor& to_stats,
             const Tensor& to_constants)
      : count(count_),
        momentum(o.momentum),
        eps(o.eps),
        gamma(p.gamma.data<A>()),
        beta(p.beta.data<A>()),
        running_mean(p.running_mean.mutable_data<A>()),
        running_var(p.running_var.mutable_data<A>()),
        stats(to_stats.mutable_data<double>()),
        constants(to_constants.mutable_data<A>()),
        channels(narrow(p.gamma.size(0))) {}

  // Of a batch, which updates the running ones; squares: about the mean.
  TP_HD void set_of_batch(uint32_t c, double mean, double squares) const {
    running_mean[c] = static_cast<A>((1 - momentum) * static_cast<double>(running_mean[c]) + momentum * mean);
    running_var[c] =
        static_cast<A>((1 - momentum) * static_cast<double>(running_var[c]) + momentum * (squares / (count - 1)));
    set(c, mean, squares / count);
  }
  TP_HD void set_of_running(uint32_t c) const {
    set(c, static_cast<double>(running_mean[c]), static_cast<double>(running_var[c]));
  }

 private:
  TP_HD void set(uint32_t c, double mean, double variance) const {
    const double inverse = 1 / sqrt(variance + eps);
    stats[c] = mean;
    stats[channels + c] = inverse;
    const A rounded_mean = static_cast<A>(mean), scale = static_cast<A>(static_cast<double>(gamma[c]) * inverse);
    constants[c] = rounded_mean;
    constants[channels + c] = scale;
    constants[2 * channels + c] = static_cast<A>(
        static_cast<double>(beta[c]) + (static_cast<double>(rounded_mean) - mean) * static_cast<double>(scale));
  }
};

template <class A>
struct SetStatistics {
  const double* moments;  // null: the running ones
  Statistics<A> to;

  TP_HD void operator()(uint32_t c) const {
    if (moments)
      to.set_of_batch(c, moments[c], moments[to.channels + c]);
    else
      to.set_of_running(c);
  }
};

bool statistics(const Tensor& moments, double count, const BatchNormParameters& p, const BatchNormOptions& o,
                const Tensor& stats, const Tensor& constants) {
  dispatch_floating(p.gamma.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    launch_each(p.gamma.size(0),
                SetStatistics<A>{moments ? moments.data<double>() : nullptr, {p, count, o, stats, constants}});
  });
  return true;
}

template <class T>
struct SetBatchStatistics {
  const T* x;
  Columns m;
  Statistics<Acc<T>> to;

  TP_HD void operator()(uint32_t o, uint32_t channel, double sum, double squares) const {
    const Moments of(x, m, o, channel, sum, squares);
    to.set_of_batch(channel, of.mean, of.squares);
  }
};

bool batch_statistics(const Tensor& x, const BatchNormParameters& p, const BatchNormOptions& o, const Tensor& stats,
                      const Tensor& constants) {
  const Columns m = Columns::of_batch(x);
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>(T) {
    sum_columns<T>(m, {x.raw()}, Differences<T>{x.data<T>(), m},
                   SetBatchStatistics<T>{x.data<T>(), m, {p, static_cast<double>(m.rows), o, stats, constants}});
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

bool join_sums(const Tensor& parts, const Tensor& sums) {
  const uint32_t channels = narrow(parts.size(2));
  launch_join(parts.data<double>(), 1, narrow(parts.size(0)), channels, SetSums{sums.mutable_data<double>(), channels});
  return true;
}

template <class A>
struct ParameterGradient {
  const double* stats;
  const A* constants;
  A *to_gamma, *to_beta, *line;
  double count;  // 0: the running statistics were used, or there are no values
  uint32_t channels;

  ParameterGradient(const Tensor& stats_, const Tensor& constants_, double count_, const Tensor& dgamma,
                    const Tensor& dbeta, const Tensor& line_)
      : stats(stats_.data<double>()),
        constants(constants_.data<A>()),
        to_gamma(dgamma.mutable_data<A>()),
        to_beta(dbeta.mutable_data<A>()),
        line(line_.mutable_data<A>()),
        count(count_),
        channels(narrow(stats_.size(1))) {}

  TP_HD void operator()(uint32_t /*outer*/, uint32_t c, double sum, double product) const {
    const double inverse = stats[channels + c], lost = static_cast<double>(constants[c]) - stats[c];
    const double dgamma = (product + lost * sum) * inverse;
    const double scale = static_cast<double>(constants[channels + c]);
    to_gamma[c] = static_cast<A>(dgamma);
    to_beta[c] = static_cast<A>(sum);
    const double slope = count > 0 ? -scale * inverse * dgamma / count : 0.0;
    line[c] = static_cast<A>(slope);
    line[channels + c] = static_cast<A>(count > 0 ? -scale * sum / count + slope * lost : 0.0);
  }
};
template <class A>
struct ParameterGradientOfSums {
  const double* sums;
  ParameterGradient<A> set;

  TP_HD void operator()(uint32_t c) const { set(0, c, sums[c], sums[set.channels + c]); }
};

bool parameter_gradient(const Tensor& sums, double n, const Tensor& stats, const Tensor& constants, bool training,
                        const Tensor& dgamma, const Tensor& dbeta, const Tensor& line) {
  dispatch_floating(constants.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    launch_each(stats.size(1), ParameterGradientOfSums<A>{sums.data<double>(),
                                                          {stats, constants, training ? n : 0, dgamma, dbeta, line}});
  });
  return true;
}

bool batch_gradient(const Tensor& x, const Tensor& dy, const Tensor& stats, const Tensor& constants, Act act,
                    bool training, const Tensor& dgamma, const Tensor& dbeta, const Tensor& line) {
  if (x.numel() == 0) {
    const Tensor none = Tensor::zeros({2, x.size(1)}, {.dtype = DType::f64, .device = x.device()});
    return parameter_gradient(none, 0, stats, constants, training, dgamma, dbeta, line);
  }
  const Columns m = Columns::of_batch(x);
  dispatch_floating(x.dtype(), "batch_norm", [&]<class T>(T) {
    using A = Acc<T>;
    sum_columns<T>(
        m, {x.raw(), dy.raw()},
        GradientTerms<T>{x.data<T>(), dy.data<T>(), {constants.data<A>(), m.channels}, act, m.last},
        ParameterGradient<A>{stats, constants, training ? static_cast<double>(m.rows) : 0, dgamma, dbeta, line});
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

// stats [image][2][channels]: mean and inverse standard deviation.
template <class T>
struct SetInstanceStatistics {
  const T* x;
  Columns m;
  double* stats;
  double eps;

  TP_HD void operator()(uint32_t o, uint32_t channel, double sum, double squares) const {
    const Moments of(x, m, o, channel, sum, squares);
    double* const to = stats + size_t{o} * 2 * m.channels + channel;
    to[0] = of.mean;
    to[m.channels] = 1 / sqrt(of.squares / m.rows + eps);
  }
};

bool instance_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double eps, const Tensor& y,
                   const Tensor& stats) {
  const Columns m = Columns::of_images(x);
  dispatch_floating(x.dtype(), "instance_norm", [&]<class T>(T) {
    double* const known = stats.mutable_data<double>();
    sum_columns<T>(m, {x.raw()}, Differences<T>{x.data<T>(), m}, SetInstanceStatistics<T>{x.data<T>(), m, known, eps});
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
                      .moments = nullptr,
                      .join_moments = join_moments,
                      .statistics = statistics,
                      .batch_statistics = batch_statistics,
                      .apply = apply,
                      .gradient_sums = nullptr,
                      .join_sums = join_sums,
                      .parameter_gradient = parameter_gradient,
                      .batch_gradient = batch_gradient,
                      .apply_gradient = apply_gradient,
                      .instance_norm = instance_norm,
                      .instance_norm_backward = instance_norm_backward};

}  // namespace tidepool::cuda
