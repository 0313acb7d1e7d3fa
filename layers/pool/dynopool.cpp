// dynopool: a map of learned size. Each output is the maximum (mean, soft maximum) of 2 samples per axis, which lie at
// 1/4 and 3/4 of its cell; the cell is n / m, m = round(n / a), and the gradient goes straight through the rounding.
#include <cmath>

#include "core/backend/reduction.h"
#include "core/parallel.h"
#include "core/tape.h"
#include "layers/fused/normed_map.h"
#include "layers/init.h"
#include "layers/pool/dynopool_kernels.h"
#include "layers/pool/max.h"

namespace tidepool {
namespace {

/// y (set), and the winners when they are given. Windows may lie behind a norm.
/// Whether a number between two pixels was not finite (CPU).
bool reduce(const DynoPoolPlan& p, const Tensor& x, const Tensor& y, const Tensor& winners,
            const window::Unwritten& norm) {
  if (p.windows()) {
    max_forward(p.geometry(), x, y, winners, norm);
    return false;
  }
  const Tables tables(p, x.device(), false);
  int strayed = 0;
  dispatch_floating(x.dtype(), kName, [&]<class T>(T) {
    const ForwardKernel<T> kernel{{tables.sampled.axis, p.map.inner, p.options.aggregate, x.data<T>()},
                                  y.mutable_data<T>(),
                                  winners ? winners.mutable_data<uint8_t>() : nullptr,
                                  {x.device() == kCpu ? &strayed : nullptr}};
    parallel_rows(x.device(), p.map.outer * p.m[0] * p.m[1], p.m[2] * p.map.inner, 4 * p.queries(), kernel);
  });
  return strayed != 0;
}

/// The entries of `all` that a parameter has, in its type and on its device.
Tensor entries(const DynoPoolPlan& p, const Tensor& all, int first, DType type, Device device) {
  const Tensor ours = all.slice(0, first + p.first_axis(), p.rank);
  if (!p.options.tied || first != 0) return ours.to(type).to(device);
  const Tensor sum = Tensor::empty({1}, {.dtype = DType::f64, .device = all.device()});
  column_sums(ours.reshape({p.rank, 1}), sum);
  return sum.to(type).to(device);
}

void backward(const DynoPoolPlan& p, const Dims& shape, MemoryFormat format, Act act, BackwardContext& ctx) {
  const Tensor dy = ctx.dy().contiguous(format);
  const Tensor &winners = ctx.saved(0), &x = ctx.saved(1);
  const bool learns = ctx.needs(2) || (p.options.offset == Offset::learned && ctx.needs(3));
  const bool windows = p.windows();
  const window::Unwritten norm{ctx.saved(2), act, ctx.saved(2) ? &ctx.dx(1) : nullptr};
  if (ctx.needs(0)) ctx.dx(0) = Tensor::empty(shape, {dy.dtype(), format, dy.device()});
  if (ctx.needs(0) && windows) max_backward(p.geometry(), winners, dy, ctx.dx(0), x, norm);
  if (!learns && (windows || !ctx.needs(0))) return;

  const Tables tables(p, dy.device(), learns);
  const int64_t rows = p.map.outer * p.m[0] * p.m[1], outputs = p.outputs();
  const bool planes = windows && p.map.inner == 1;  // what a sum is of, else a row
  const int64_t parts = planes ? p.map.outer * p.m[0] : rows;
  Tensor dv, sums;
  double cell_in_a[3] = {};  // d cell / d a = (- n / m^2) (d m / d s = 1) (- n / a^2)
  for (size_t i = 0; i < 3; ++i) {
    const double ratio = static_cast<double>(p.n[i]) / (static_cast<double>(p.m[i]) * p.a[i]);
    cell_in_a[i] = ratio * ratio;
  }
  if (learns) sums = Tensor::empty({parts, 6}, {.dtype = DType::f64, .device = dy.device()});
  dispatch_floating(dy.dtype(), kName, [&]<class T>(T) {
    using A = Acc<T>;
    const Common<T> common{tables.sampled.axis, p.map.inner, p.options.aggregate, x ? x.data<T>() : nullptr};
    if (p.options.aggregate == Aggregate::soft) {
      dv = Tensor::empty({p.queries(), outputs}, {.dtype = DTypeOf<A>::value, .device = dy.device()});
      const SoftBackwardKernel<T> kernel{common, dy.data<T>(), dv.mutable_data<A>(), outputs};
      parallel_rows(dy.device(), rows, p.m[2] * p.map.inner, 4 * p.queries(), kernel);
    }
    const SampleGradient<T> gradient{p.options.aggregate,
                                     p.queries(),
                                     outputs,
                                     dy.data<T>(),
                                     winners ? winners.data<uint8_t>() : nullptr,
                                     dv ? dv.mutable_data<A>() : nullptr};
    if (ctx.needs(0) && !windows) {
      const Spread<T> kernel{common, gradient, ctx.dx(0).mutable_data<T>()};
      parallel_rows(dy.device(), p.map.outer * p.n[0] * p.n[1], p.n[2] * p.map.inner, 2 * p.queries(), kernel);
    }
    if (learns && !windows) {
      const ShapeBackward<T> kernel{common,
                                    gradient,
                                    tables.tilts,
                                    p.first_axis(),
                                    p.options.offset == Offset::learned,
                                    sums.mutable_data<double>(),
                                    {cell_in_a[0], cell_in_a[1], cell_in_a[2], 1, 1, 1}};
      parallel_rows(dy.device(), rows, threads_per_row(dy.device()), p.m[2] * p.map.inner * 8, kernel);
    }
    if (learns && windows) {
      const auto launch = [&]<bool kLanesAlongWidth>(std::bool_constant<kLanesAlongWidth>) {
        const WindowShapeBackward<T, kLanesAlongWidth> kernel{common,
                                                              dy.data<T>(),
                                                              winners.data<uint8_t>(),
                                                              tables.tilts,
                                                              p.first_axis(),
                                                              p.options.offset == Offset::learned,
                                                              sums.mutable_data<double>(),
                                                              {cell_in_a[0], cell_in_a[1], cell_in_a[2], 1, 1, 1}};
        const auto run = [&](const auto& one) {
          parallel_rows(dy.device(), parts, threads_per_row(dy.device()), outputs / std::max<int64_t>(1, parts) * 8,
                        one);
        };
#if !defined(TP_DEVICE_PASS)
        if constexpr (!kLanesAlongWidth && !std::is_same_v<T, double>)
          if (norm.constants)
            return run(
                window::BehindNorm<std::decay_t<decltype(kernel)>, T>(kernel, p.geometry(), norm, {}, /*margin=*/1));
#endif
        run(kernel);
      };
      planes ? launch(std::true_type{}) : launch(std::false_type{});
    }
  });
  if (!learns) return;
  const Tensor all = Tensor::empty({6}, {.dtype = DType::f64, .device = dy.device()});  // d alpha, d delta
  column_sums(sums, all);
  if (ctx.needs(2)) ctx.dx(2) = entries(p, all, 0, p.alpha_type, p.alpha_device);
  if (p.options.offset == Offset::learned && ctx.needs(3)) ctx.dx(3) = entries(p, all, 3, p.delta_type, p.delta_device);
}

class DynoPool final : public PoolOperator, public ReadsNorm {
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
        {.name = "alpha", .shape = {entries}, .kind = ParameterKind::shape, .init = constant_init(start)}};
    if (options_.offset == Offset::learned)
      specs.push_back({.name = "delta",
                       .shape = {rank},
                       .kind = ParameterKind::number,
                       .init = constant_init(std::vector<double>(static_cast<size_t>(rank), 0.25))});
    return specs;
  }

  Dims output_shape(const Dims& x, std::span<const Tensor> parameters) const override {
    return output_of(x, plan(x, parameters));
  }

  bool by_channels(const Dims& x, std::span<const Tensor> parameters) const override {
    return !plan(x, parameters).windows();
  }
  Tensor run(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& mode) const override {
    return pooled(x, plan(x.shape(), parameters), parameters, mode);
  }
  Tensor forward_through_norm(const NormedMap& map, std::span<const Tensor> parameters,
                              const PoolMode& mode) const override {
    DynoPoolPlan p = plan(map.shape(), parameters);
    p.map = MapLayout::of(map.shape(), map.raw().format());
    if (!p.windows() || p.map.inner == 1 || !window::reads_behind_norm(p.geometry())) return {};
    return pooled(map, p, parameters, mode);
  }

  void project(std::span<const Tensor> parameters, const Dims& /*x*/) const override {
    const auto entries = static_cast<size_t>(parameters[0].numel());
    project_onto(parameters[0], std::vector<double>(entries, 1 / options_.r_max),
                 std::vector<double>(entries, 1 / options_.r_min));
  }

  TracedShape trace(const TracedShape& x, std::span<const Tensor> parameters, const std::string& /*name*/,
                    Trace& /*trace*/) const override {
    const DynoPoolPlan p = plan(x.dims(), parameters);
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
  /// Of a map behind a norm only where its samples are whole windows.
  Tensor pooled(const NormedMap& map, DynoPoolPlan p, std::span<const Tensor> parameters, const PoolMode& mode) const {
    const Tensor &x = map.raw(), &alpha = parameters[0];
    const Tensor delta = parameters.size() > 1 ? parameters[1] : Tensor{};
    const MemoryFormat format = x.format();
    const Tensor dense = x.contiguous(format);
    p.map = MapLayout::of(x.shape(), format);
    const Tensor y = Tensor::empty(output_of(x.shape(), p), {x.dtype(), format, x.device()});
    const bool learns = Tape::wants({alpha, delta}), wanted = learns || Tape::wants({x});
    const bool max = options_.aggregate == Aggregate::max;
    Tensor winners;
    if (wanted && max) winners = Tensor::empty(y.shape(), {DType::u8, format, y.device()});
    if (reduce(p, dense, y, winners, {map.constants(), map.act()}) && map.written() && near_the_ends(x))
      return forward_in_f64(x, parameters, mode);
    const Tensor kept = learns || !map.written() || options_.aggregate == Aggregate::soft ? dense : Tensor{};
    const Dims shape = x.shape();
    const Act act = map.act();
    Tape::record(kName, {x, map.sums(), alpha, delta}, {y}, {winners, kept, map.constants()},
                 [p, shape, format, act](BackwardContext& ctx) { backward(p, shape, format, act, ctx); });
    return y;
  }
  /// Lengths and cells from the parameters; all checks.
  DynoPoolPlan plan(const Dims& x, std::span<const Tensor> tensors) const {
    const std::vector<ParameterSpec> specs = parameters(x);
    expect_parameters(kName, specs, tensors);
    DynoPoolPlan p{.options = options_, .rank = x.rank() - 2};
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
      if (m > 0x1p62 || elements > 0x1p31)
        throw Error(
            "[dynopool] alpha {} enlarges axis {} of {} to {:.0f}: the output would have more than 2^31 elements",
            p.a[axis], i, x.str(), m);
      p.m[axis] = static_cast<int64_t>(m);
    }
    return p;
  }
  Dims output_of(const Dims& x, const DynoPoolPlan& p) const {
    Dims y = x;
    for (int i = 0; i < p.rank; ++i) y[2 + i] = p.m[static_cast<size_t>(p.first_axis() + i)];
    return y;
  }

  Options options_;
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_dynopool() {
  static const PoolDescription description = describe_pool<DynoPool, Options>(
      {.name = kName,
       .ranks = {1, 2, 3},
       .parameters = {"alpha", "delta"},
       .formula =
           "m = max(1, round(n / a)) per axis, cell = n / m; y_i = max (avg, soft) of x interpolated at (i + 1/4) cell "
           "and (i + 3/4) cell on every axis",
       .gradient =
           "dx by the samples' interpolation weights; da = sum dy dv/dq dq/dcell n^2 / (m a)^2, straight through the "
           "rounding",
       .source = "Jang, Chu, Kim, Han: Pooling Revisited: Your Receptive Field is Suboptimal, CVPR 2022",
       .keeps = "max: the winner's index, 1 byte per output; x when alpha or delta is learned, and for soft"});
  return description;
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
