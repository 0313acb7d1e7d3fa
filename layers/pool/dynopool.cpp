// dynopool: a map of learned size. Each output is the maximum (mean, soft maximum) of 2 samples an axis, which lie at
// 1/4 and 3/4 of its cell; the cell is n / m, m = round(n / a), and the gradient goes straight through the rounding.
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/parallel.h"
#include "core/tape.h"
#include "layers/pool/max.h"
#include "layers/pool/sampling.h"
#include "layers/pool/window.h"

namespace tidepool {
namespace {

constexpr const char* kName = "dynopool";
enum class Aggregate : uint8_t { max, avg, soft };
enum class Anchor : uint8_t { center, origin };
enum class NodeDerivative : uint8_t { central, right };
enum class Offset : uint8_t { fixed, learned };

struct Options {
  PerAxis<double> r = PerAxis<double>::all(0.5);
  double r_min = 1.0 / 16, r_max = 2;
  bool tied = false;
  Aggregate aggregate = Aggregate::max;
  Anchor anchor = Anchor::center;
  NodeDerivative node_derivative = NodeDerivative::central;
  Offset offset = Offset::fixed;

  void keys(Keys& k) {
    k.numbers("r", r, "Scale factor 1/a at the start.").above(0).at_most(1e6);
    k.number("r_min", r_min, "Least scale factor after an optimizer step.").above(0);
    k.number("r_max", r_max, "Largest scale factor after an optimizer step; over 1 enlarges the map.").above(0);
    k.flag("tied", tied, "One parameter for all axes.");
    k.choice("aggregate", aggregate, {"max", "avg", "soft"}, "What an output makes of its samples.");
    k.choice("anchor", anchor, {"center", "origin"}, "What stays put, for the gradient, when the cell grows.");
    k.choice("node_derivative", node_derivative, {"central", "right"},
             "The derivative of the map at a pixel's centre.");
    k.choice("offset", offset, {"fixed", "learned"}, "Whether the samples' offset in the cell is learned.");
  }
};

/// What one forward was, for its backward: all that tables follow from.
struct Plan {
  Options options;
  int rank = 0;
  std::array<int64_t, 3> n{1, 1, 1}, m{1, 1, 1};  // axes D, H, W
  std::array<double, 3> a{1, 1, 1}, delta{0.25, 0.25, 0.25};
  MapLayout map{};
  DType alpha_type = DType::f32, delta_type = DType::f32;
  Device alpha_device{}, delta_device{};

  int first_axis() const { return 3 - rank; }
  int32_t queries() const { return 1 << rank; }
  int64_t outputs() const { return map.outer * m[0] * m[1] * m[2] * map.inner; }
  /// Samples lie on all pixels, each on one: 2x2 windows, which are max's (design.md: a tuned variant beside the
  /// plain).
  bool windows() const {
    if (options.aggregate != Aggregate::max) return false;
    for (size_t i = static_cast<size_t>(first_axis()); i < 3; ++i)
      if (n[i] != 2 * m[i] || delta[i] != 0.25) return false;
    return true;
  }
  WindowGeometry geometry() const {
    WindowGeometry g{{}, map};
    for (size_t i = static_cast<size_t>(first_axis()); i < 3; ++i) g.axis[i] = {n[i], m[i], 2, 2, 0, 1};
    return g;
  }
};

/// Derivative of the map in q at a sample: scale (x[up] - x[down]); and of q in the cell and in delta.
struct Tilt {
  int64_t up = 0, down = 0;
  double scale = 0, by_cell = 0, by_delta = 0;
};

struct Query {
  Sample sample;
  Tilt tilt;
};

Query query(const Plan& p, size_t axis, int64_t i, int side) {
  const int64_t n = p.n[axis], m = p.m[axis];
  const double cell = static_cast<double>(n) / static_cast<double>(m), sign = side == 0 ? -1 : 1;
  Query q;
  bool outside, node = false;
  if (p.delta[axis] == 0.25) {  // in integers: q - 1/2 = ((4 i + 1 or 3) n - 2 m) / (4 m)
    const int64_t at = (4 * i + (side == 0 ? 1 : 3)) * n - 2 * m, unit = 4 * m, last = (n - 1) * unit;
    const int64_t clamped = std::min(std::max<int64_t>(at, 0), last);
    outside = at != clamped;
    q.sample.low = clamped / unit;
    q.sample.fraction = static_cast<double>(clamped % unit) / static_cast<double>(unit);
    node = !outside && clamped % unit == 0;
  } else {
    const double at = (static_cast<double>(i) + 0.5 + sign * p.delta[axis]) * cell - 0.5;
    const double clamped = std::min(std::max(at, 0.0), static_cast<double>(n - 1));
    outside = at != clamped;
    q.sample.low = static_cast<int64_t>(clamped);
    q.sample.fraction = clamped - static_cast<double>(q.sample.low);
  }
  q.sample.high = q.sample.fraction == 0 ? q.sample.low : q.sample.low + 1;
  const int64_t k = q.sample.low;
  q.tilt.up = std::min(k + 1, n - 1);
  q.tilt.down = k;
  q.tilt.scale = outside ? 0 : 1;
  if (node && p.options.node_derivative == NodeDerivative::central) {
    q.tilt.down = std::max<int64_t>(k - 1, 0);
    q.tilt.scale = 0.5;
  }
  const double from = p.options.anchor == Anchor::origin ? 0 : static_cast<double>(m) / 2;
  q.tilt.by_cell = static_cast<double>(i) - from + 0.5 + sign * p.delta[axis];
  q.tilt.by_delta = sign * cell;
  return q;
}

struct Tables {
  SampledAxes sampled;
  std::array<const Tilt*, 3> tilts{};  // [m][sides]

  Tables(const Plan& p, Device device, bool with_tilts) {
    for (size_t axis = 0; axis < 3; ++axis) {
      const bool real = static_cast<int>(axis) >= p.first_axis();
      std::vector<Sample> samples;
      std::vector<Tilt> tilt;
      for (int64_t i = 0; i < p.m[axis]; ++i)
        for (int side = 0; side < (real ? 2 : 1); ++side) {
          const Query q = real ? query(p, axis, i, side) : Query{};
          samples.push_back(q.sample);
          tilt.push_back(q.tilt);
        }
      sampled.set(static_cast<int>(axis), p.n[axis], real ? 2 : 1, samples, device);
      if (!with_tilts) continue;
      sampled.memory.push_back(upload(tilt, device));
      tilts[axis] = static_cast<const Tilt*>(sampled.memory.back().raw());
    }
  }
};

// ---- kernels: a row is (outer, d, h) of the output (of the input in Spread), its lanes (w, inner)

/// Places of a row of outputs.
struct OutputRow {
  int64_t outer, d, h;
  TP_HD OutputRow(const std::array<SampledAxis, 3>& axis, int64_t row)
      : outer(row / axis[1].m / axis[0].m), d(row / axis[1].m % axis[0].m), h(row % axis[1].m) {}
};

template <class T>
struct Common {
  std::array<SampledAxis, 3> axis;
  int64_t inner;
  Aggregate aggregate;
  const T* x;

  template <class V>
  TP_HD TP_INLINE Interpolate<V, T> map(int64_t outer, int64_t channel) const {
    const int64_t w = inner, h = axis[2].n * w, d = axis[1].n * h;
    return {x + outer * axis[0].n * d + channel, d, h, w};
  }
  /// Calls f(query number, d side, h side, w side).
  template <class F>
  TP_HD TP_INLINE void each_query(F&& f) const {
    int32_t q = 0;
    for (int32_t a = 0; a < axis[0].sides; ++a)
      for (int32_t b = 0; b < axis[1].sides; ++b)
        for (int32_t c = 0; c < axis[2].sides; ++c) f(q++, a, b, c);
  }
};

/// The mean of v[0..count) weighted by exp v: what soft makes of a window; e gets the weights.
template <class V>
TP_HD TP_INLINE V soft_mean(const V* v, int32_t count, V* e, V& m) {
  const V none = splat<V>(0);
  m = v[0];
  for (int32_t q = 1; q < count; ++q) m = max_nan(m, v[q]);
  V sum = none, mean = none;
  for (int32_t q = 0; q < count; ++q) {
    e[q] = exp_lanes<V>(v[q] - m);
    sum = sum + e[q];
    mean = mean + (e[q] > none ? e[q] * (v[q] - m) : none);
  }
  for (int32_t q = 0; q < count; ++q) e[q] = e[q] / sum;
  return mean / sum;
}

template <class T>
struct ForwardKernel : Common<T> {
  T* y;
  uint8_t* winners;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    const OutputRow at(this->axis, row);
    each_place_lane<Acc<T>>(this->inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      const auto map = this->template map<V>(at.outer, channel);
      const int64_t out = (row * this->axis[2].m + w) * this->inner + channel;
      V v[8], best = splat<V>(-INFINITY), sum = splat<V>(0);
      Ints<V> winner = splat_int<V>(0);
      int32_t queries = 0;
      this->each_query([&](int32_t q, int32_t a, int32_t b, int32_t c) {
        const V value = map(this->axis[0].sample(at.d, a), this->axis[1].sample(at.h, b), this->axis[2].sample(w, c));
        if (this->aggregate == Aggregate::max) {
          const auto wins = (value > best) | (value != value);
          best = wins ? value : best;
          winner = wins ? splat_int<V>(q) : winner;
        } else if (this->aggregate == Aggregate::avg) {
          sum = sum + value;
        }
        v[q] = value;
        queries = q + 1;
      });
      if (this->aggregate == Aggregate::avg) best = sum / splat<V>(static_cast<Lane<V>>(queries));
      if (this->aggregate == Aggregate::soft) {
        V e[8], m;
        const V mean = soft_mean(v, queries, e, m);
        best = m + mean;
      }
      store(y + out, best);
      if (winners) store_int<V>(winners + out, winner);
    });
  }
};

/// For aggregate soft: dv (set), the gradient of each sample's value, [queries][outputs].
template <class T>
struct SoftPullKernel : Common<T> {
  const T* dy;
  Acc<T>* dv;
  int64_t outputs;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    const OutputRow at(this->axis, row);
    each_place_lane<Acc<T>>(this->inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      const auto map = this->template map<V>(at.outer, channel);
      const int64_t out = (row * this->axis[2].m + w) * this->inner + channel;
      V v[8], e[8], m;
      int32_t queries = 0;
      this->each_query([&](int32_t q, int32_t a, int32_t b, int32_t c) {
        v[q] = map(this->axis[0].sample(at.d, a), this->axis[1].sample(at.h, b), this->axis[2].sample(w, c));
        queries = q + 1;
      });
      const V mean = soft_mean(v, queries, e, m), gradient = load<V>(dy + out);
      for (int32_t q = 0; q < queries; ++q)
        store(dv + q * outputs + out, gradient * e[q] * (splat<V>(1) + ((v[q] - m) - mean)));
    });
  }
};

/// The gradient of each sample's value.
template <class T>
struct SampleGradient {
  Aggregate aggregate;
  int32_t queries;
  int64_t outputs;
  const T* dy;
  const uint8_t* winners;
  const Acc<T>* dv;

  template <class V>
  TP_HD TP_INLINE V at(int64_t out, int32_t q) const {
    if (aggregate == Aggregate::soft) return load<V>(dv + q * outputs + out);
    const V g = load<V>(dy + out);
    if (aggregate == Aggregate::avg) return g / splat<V>(static_cast<Lane<V>>(queries));
    return load_int<V>(winners + out) == splat_int<V>(q) ? g : splat<V>(0);
  }
};

/// dx (set): each pixel sums the samples that read it, in the order of sides and outputs.
template <class T>
struct Spread : Common<T> {
  SampleGradient<T> gradient;
  T* dx;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    const auto& [ad, ah, aw] = this->axis;
    const int64_t h = row % ah.n, d = row / ah.n % ad.n, outer = row / ah.n / ad.n;
    each_place_lane<Acc<T>>(this->inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      V sum = splat<V>(0);
      this->each_query([&](int32_t q, int32_t a, int32_t b, int32_t c) {
        const Reach rd = this->axis[0].reached(d, a), rh = this->axis[1].reached(h, b),
                    rw = this->axis[2].reached(w, c);
        for (int64_t od = rd.begin; od < rd.end; ++od)
          for (int64_t oh = rh.begin; oh < rh.end; ++oh) {
            const double weight = this->axis[0].sample(od, a).weight(d) * this->axis[1].sample(oh, b).weight(h);
            const int64_t outputs = ((outer * this->axis[0].m + od) * this->axis[1].m + oh) * this->axis[2].m;
            for (int64_t ow = rw.begin; ow < rw.end; ++ow) {
              const double all = weight * this->axis[2].sample(ow, c).weight(w);
              sum = sum + splat<V>(static_cast<Lane<V>>(all)) *
                              gradient.template at<V>((outputs + ow) * this->inner + channel, q);
            }
          }
      });
      store(dx + (row * this->axis[2].n + w) * this->inner + channel, sum);
    });
  }
};

/// Of one row of outputs: sums[row][axis] = sum dv dv/dq dq/dcell, sums[row][3 + axis] = the same with dq/ddelta.
template <class T>
struct ShapePull : Common<T> {
  SampleGradient<T> gradient;
  std::array<const Tilt*, 3> tilts;
  int32_t first_axis;
  bool with_delta;
  double* sums;

  template <class V>
  TP_HD TP_INLINE void place(const OutputRow& at, int64_t row, int64_t w, int64_t channel, LaneSum<V>* sum) const {
    const auto map = this->template map<V>(at.outer, channel);
    const int64_t out = (row * this->axis[2].m + w) * this->inner + channel;
    V by_cell[3], by_delta[3];
    for (int i = 0; i < 3; ++i) by_cell[i] = by_delta[i] = splat<V>(0);
    this->each_query([&](int32_t q, int32_t a, int32_t b, int32_t c) {
      const V g = gradient.template at<V>(out, q);
      const Sample s[3] = {this->axis[0].sample(at.d, a), this->axis[1].sample(at.h, b), this->axis[2].sample(w, c)};
      const Tilt t[3] = {tilts[0][at.d * this->axis[0].sides + a], tilts[1][at.h * this->axis[1].sides + b],
                         tilts[2][w * this->axis[2].sides + c]};
      const auto tilted = [&](int i) {
        const Sample up{t[i].up, t[i].up, 0}, down{t[i].down, t[i].down, 0};
        return map(i == 0 ? up : s[0], i == 1 ? up : s[1], i == 2 ? up : s[2]) -
               map(i == 0 ? down : s[0], i == 1 ? down : s[1], i == 2 ? down : s[2]);
      };
      for (int i = first_axis; i < 3; ++i) {
        if (t[i].scale == 0) continue;
        const V slope = g * tilted(i);
        by_cell[i] = by_cell[i] + slope * splat<V>(static_cast<Lane<V>>(t[i].scale * t[i].by_cell));
        if (with_delta) by_delta[i] = by_delta[i] + slope * splat<V>(static_cast<Lane<V>>(t[i].scale * t[i].by_delta));
      }
    });
    for (int i = first_axis; i < 3; ++i) {
      sum[i].add(by_cell[i]);
      if (with_delta) sum[3 + i].add(by_delta[i]);
    }
  }

  TP_HD void operator()(int64_t row, int64_t /*lane*/, int64_t /*count*/) const {
    using A = Acc<T>;
    const OutputRow at(this->axis, row);
    LaneSum<A> one[6];
#if !defined(__CUDACC__)
    LaneSum<typename detail::WideOf<A>::type> many[6];
#endif
    each_place_lane<A>(this->inner, 0, this->axis[2].m * this->inner, [&]<class V>(int64_t w, int64_t channel) {
      if constexpr (kLanes<V> == 1) {
        place<V>(at, row, w, channel, one);
      } else {
#if !defined(__CUDACC__)
        place<V>(at, row, w, channel, many);
#endif
      }
    });
    for (int i = 0; i < 6; ++i) {
      sums[row * 6 + i] = one[i].total();
#if !defined(__CUDACC__)
      sums[row * 6 + i] += many[i].total();
#endif
    }
  }
};

// ---- launches

/// y (set), and the winners when they are given.
void reduce(const Plan& p, const Tensor& x, const Tensor& y, const Tensor& winners) {
  if (p.windows()) return max_forward(p.geometry(), x, y, winners);
  const Tables tables(p, x.device(), false);
  dispatch_floating(x.dtype(), kName, [&]<class T>(T) {
    const ForwardKernel<T> kernel{{tables.sampled.axis, p.map.inner, p.options.aggregate, x.data<T>()},
                                  y.data<T>(),
                                  winners ? winners.data<uint8_t>() : nullptr};
    parallel_rows(x.device(), p.map.outer * p.m[0] * p.m[1], p.m[2] * p.map.inner, 4 * p.queries(), kernel);
  });
}

/// d alpha and d delta, [6] f64 on the CPU's or x's device: of the cell in a for alpha's three axes, then delta's.
Tensor shape_gradient(const Plan& p, Device device, int64_t rows, const Tensor& sums) {
  const Tensor out = Tensor::empty({6}, {.dtype = DType::f64, .device = device});
  SumRows<6> kernel{sums.data<double>(), rows, {}, out.data<double>()};
  for (size_t i = 0; i < 3; ++i) {
    // d cell / d a = (- n / m^2) (d m / d s = 1) (- n / a^2)
    const double ratio = static_cast<double>(p.n[i]) / (static_cast<double>(p.m[i]) * p.a[i]);
    kernel.factor[i] = ratio * ratio;
    kernel.factor[3 + i] = 1;
  }
  parallel_rows(device, 6, 1, rows, kernel);
  return out;
}

/// The entries of `all` that a parameter has, in its type and on its device.
Tensor entries(const Plan& p, const Tensor& all, int first, DType type, Device device) {
  Tensor one = all.slice(0, first + p.first_axis(), p.rank);
  if (p.options.tied && first == 0) {
    double sum = 0;
    for (double v : one.values()) sum += v;
    one = Tensor::from<double>({sum}, {1});
  }
  return one.to(kCpu).to(type).to(device);
}

void backward(const Plan& p, const Dims& shape, MemoryFormat format, Pull& pull) {
  const Tensor dy = pull.dy().contiguous(format);
  const Tensor &winners = pull.saved(0), &x = pull.saved(1);
  const bool learns = pull.needs(1) || (p.options.offset == Offset::learned && pull.needs(2));
  const bool windows = p.windows();
  if (pull.needs(0)) pull.dx(0) = Tensor::empty(shape, {dy.dtype(), format, dy.device()});
  if (pull.needs(0) && windows) max_backward(p.geometry(), winners, dy, pull.dx(0));
  if (!learns && (windows || !pull.needs(0))) return;

  const Tables tables(p, dy.device(), learns);
  const int64_t rows = p.map.outer * p.m[0] * p.m[1], outputs = p.outputs();
  Tensor dv, sums;
  if (learns) sums = Tensor::empty({rows, 6}, {.dtype = DType::f64, .device = dy.device()});
  dispatch_floating(dy.dtype(), kName, [&]<class T>(T) {
    using A = Acc<T>;
    const Common<T> common{tables.sampled.axis, p.map.inner, p.options.aggregate, x ? x.data<T>() : nullptr};
    if (p.options.aggregate == Aggregate::soft) {
      dv = Tensor::empty({p.queries(), outputs}, {.dtype = DTypeOf<A>::value, .device = dy.device()});
      const SoftPullKernel<T> kernel{common, dy.data<T>(), dv.data<A>(), outputs};
      parallel_rows(dy.device(), rows, p.m[2] * p.map.inner, 4 * p.queries(), kernel);
    }
    const SampleGradient<T> gradient{
        p.options.aggregate,        p.queries(), outputs, dy.data<T>(), winners ? winners.data<uint8_t>() : nullptr,
        dv ? dv.data<A>() : nullptr};
    if (pull.needs(0) && !windows) {
      const Spread<T> kernel{common, gradient, pull.dx(0).data<T>()};
      parallel_rows(dy.device(), p.map.outer * p.n[0] * p.n[1], p.n[2] * p.map.inner, 2 * p.queries(), kernel);
    }
    if (learns) {
      const ShapePull<T> kernel{
          common, gradient, tables.tilts, p.first_axis(), p.options.offset == Offset::learned, sums.data<double>()};
      parallel_rows(dy.device(), rows, 1, p.m[2] * p.map.inner * 8, kernel);
    }
  });
  if (!learns) return;
  const Tensor all = shape_gradient(p, dy.device(), rows, sums);
  if (pull.needs(1)) pull.dx(1) = entries(p, all, 0, p.alpha_type, p.alpha_device);
  if (p.options.offset == Offset::learned && pull.needs(2))
    pull.dx(2) = entries(p, all, 3, p.delta_type, p.delta_device);
}

std::function<void(const Tensor&, uint64_t)> start_at(std::vector<double> values) {
  return [values](const Tensor& t, uint64_t) {
    t.copy_from(Tensor::from<double>(std::span<const double>(values), {static_cast<int64_t>(values.size())}));
  };
}

class DynoPool final : public PoolOperator {
 public:
  explicit DynoPool(const Options& options) : options_(options) {
    if (options.r_min > options.r_max)
      throw Error("[dynopool] r_min {} is over r_max {}", options.r_min, options.r_max);
    if (options.tied && options.r.count > 1)
      throw Error("[dynopool] key 'r': tied axes have one number, got {}", options.r.count);
  }

  std::vector<ParameterSpec> parameters(const Dims& x) const override {
    const int rank = expect_rank(kName, x, {1, 2, 3}), entries = options_.tied ? 1 : rank;
    options_.r.expect_axes(kName, "r", rank);
    std::vector<double> start;
    for (int i = 0; i < entries; ++i) start.push_back(1.0 / options_.r[i]);
    std::vector<ParameterSpec> specs{
        {.name = "alpha", .shape = {entries}, .kind = ParameterKind::shape, .start = start_at(start)}};
    if (options_.offset == Offset::learned)
      specs.push_back({.name = "delta",
                       .shape = {rank},
                       .kind = ParameterKind::number,
                       .start = start_at(std::vector<double>(static_cast<size_t>(rank), 0.25))});
    return specs;
  }

  Dims output_shape(const Dims& x, std::span<const Tensor> parameters) const override {
    return output_of(x, plan(x, parameters));
  }

  Tensor forward(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& /*mode*/) const override {
    Plan p = plan(x.shape(), parameters);
    const Tensor& alpha = parameters[0];
    const Tensor delta = parameters.size() > 1 ? parameters[1] : Tensor{};
    const MemoryFormat format = x.format();
    const Tensor dense = x.contiguous(format);
    p.map = MapLayout::of(x.shape(), format);
    const Tensor y = Tensor::empty(output_of(x.shape(), p), {x.dtype(), format, x.device()});
    const bool learns = Tape::wants({alpha, delta}), wanted = learns || Tape::wants({x});
    const bool max = options_.aggregate == Aggregate::max;
    Tensor winners;
    if (wanted && max) winners = Tensor::empty(y.shape(), {DType::u8, format, y.device()});
    reduce(p, dense, y, winners);
    const Tensor kept = learns || options_.aggregate == Aggregate::soft ? dense : Tensor{};
    const Dims shape = x.shape();
    Tape::record(kName, {x, alpha, delta}, {y}, {winners, kept},
                 [p, shape, format](Pull& pull) { backward(p, shape, format, pull); });
    return y;
  }

  void project(std::span<const Tensor> parameters, const Dims& /*x*/) const override {
    const Tensor& alpha = parameters[0];
    std::vector<double> values = alpha.values();
    bool inside = true;
    for (double& v : values) {
      const double kept = std::min(std::max(v, 1 / options_.r_max), 1 / options_.r_min);
      inside = inside && (kept == v || std::isnan(v));
      if (!std::isnan(v)) v = kept;
    }
    if (inside) return;
    alpha.copy_from(
        Tensor::from<double>(std::span<const double>(values), alpha.shape()).to(alpha.dtype()).to(alpha.device()));
    alpha.mark_written();
  }

  TracedShape trace(const TracedShape& x, std::span<const Tensor> parameters, const std::string& /*name*/,
                    Trace& /*trace*/) const override {
    const Plan p = plan(x.dims(), parameters);
    TracedShape y{.n = x.n, .c = x.c, .lengths = {}};
    for (int i = 0; i < p.rank; ++i) {
      const size_t axis = static_cast<size_t>(p.first_axis() + i);
      TracedLength m = x.lengths[static_cast<size_t>(i)].then(p.m[axis], 1 / p.a[axis]);
      m.add(parameters[0], options_.tied ? 0 : i, -static_cast<double>(p.n[axis]) / (p.a[axis] * p.a[axis]));
      y.lengths.push_back(std::move(m));
    }
    return y;
  }

 private:
  /// Lengths and cells from the parameters; all checks.
  Plan plan(const Dims& x, std::span<const Tensor> tensors) const {
    const std::vector<ParameterSpec> specs = parameters(x);
    expect_parameters(kName, specs, tensors);
    Plan p{.options = options_, .rank = x.rank() - 2};
    p.alpha_type = tensors[0].dtype();
    p.alpha_device = tensors[0].device();
    const std::vector<double> alpha = tensors[0].values();
    std::vector<double> delta(static_cast<size_t>(p.rank), 0.25);
    if (tensors.size() > 1) {
      delta = tensors[1].values();
      p.delta_type = tensors[1].dtype();
      p.delta_device = tensors[1].device();
    }
    double elements = static_cast<double>(x[0]) * static_cast<double>(x[1]);
    for (int i = 0; i < p.rank; ++i) {
      const size_t axis = static_cast<size_t>(p.first_axis() + i);
      p.n[axis] = x[2 + i];
      p.a[axis] = alpha[static_cast<size_t>(options_.tied ? 0 : i)];
      p.delta[axis] = delta[static_cast<size_t>(i)];
      if (p.n[axis] < 1) throw Error("[dynopool] a map of length {} on axis {}", p.n[axis], i);
      if (!(p.a[axis] > 0) || !std::isfinite(p.a[axis]))
        throw Error("[dynopool] alpha: expected finite numbers > 0, got {} for axis {}", p.a[axis], i);
      if (!std::isfinite(p.delta[axis]))
        throw Error("[dynopool] delta: expected finite numbers, got {} for axis {}", p.delta[axis], i);
      // nearbyint rounds halves to even, as torch.round does
      const double m = std::max(1.0, std::nearbyint(static_cast<double>(p.n[axis]) / p.a[axis]));
      elements *= m;
      if (m > 0x1p31 || elements > 0x1p31)
        throw Error(
            "[dynopool] alpha {} enlarges axis {} of {} to {:.0f}: the output would have more than 2^31 elements",
            p.a[axis], i, x.str(), m);
      p.m[axis] = static_cast<int64_t>(m);
    }
    return p;
  }
  Dims output_of(const Dims& x, const Plan& p) const {
    Dims y = x;
    for (int i = 0; i < p.rank; ++i) y[2 + i] = p.m[static_cast<size_t>(p.first_axis() + i)];
    return y;
  }

  Options options_;
};

}  // namespace

inline namespace TP_PASS {

const PoolDescription& pool_dynopool() {
  static const PoolDescription description{
      .name = kName,
      .ranks = {1, 2, 3},
      .keys = describe_keys<Options>(kName),
      .parameters = {"alpha", "delta"},
      .formula =
          "m = max(1, round(n / a)) an axis, cell = n / m; y_i = max (avg, soft) of x interpolated at (i + 1/4) cell "
          "and (i + 3/4) cell on every axis",
      .gradient =
          "dx by the samples' interpolation weights; da = sum dy dv/dq dq/dcell n^2 / (m a)^2, straight through the "
          "rounding",
      .source = "Jang et al.: DynOPool, Learning dynamic pooling, 2022",
      .keeps = "max: the winner's index, 1 byte an output; x when alpha or delta is learned, and for soft",
      .make = [](const nlohmann::json& config) -> std::unique_ptr<PoolOperator> {
        return std::make_unique<DynoPool>(parse_keys<Options>(kName, config));
      }};
  return description;
}

}  // namespace TP_PASS
}  // namespace tidepool
