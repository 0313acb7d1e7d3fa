// shape_adaptor: a map of learned size s n. The 2x2 maximum and the map itself, both resized to that size, are mixed by
// how near s is to its bounds.
#include <cmath>

#include "core/backend/reduction.h"
#include "core/parallel.h"
#include "core/sums.h"
#include "core/tape.h"
#include "layers/pool/compiled_for.h"
#include "layers/pool/max.h"
#include "layers/pool/number.h"
#include "layers/pool/sampling.h"
#include "layers/pool/tables.h"

namespace tidepool {
namespace {

constexpr const char* kName = "shape_adaptor";
enum class Grad : uint8_t { none, straight_through };

struct Options {
  double r1 = 0.5, r2 = 1, alpha = -0.34657359027997264;  // s = 2^(-1/2): four of them quarter a map's length
  Grad grad = Grad::none;

  void keys(Keys& k) {
    k.number("r1", r1, "Scale of the length as alpha falls.").above(0).at_most(1e3);
    k.number("r2", r2, "Scale of the length as alpha grows.").above(0).at_most(1e3);
    k.number("alpha", alpha, "Start of the parameter.");
    k.choice("grad", grad, {"none", "straight_through"}, "Whether the length itself has a gradient, in the GMACs.");
  }
};

struct ShapeAdaptorPlan {
  std::array<int64_t, 3> n{1, 1, 1}, pooled{1, 1, 1}, m{1, 1, 1};  // axes D (absent), H, W
  double mix = 0, scale = 0;                                       // sigmoid(a); s
  MapLayout map{};
  DType alpha_type = DType::f32;
  Device alpha_device{};

  WindowGeometry windows() const {
    WindowGeometry g{{}, map};
    for (size_t i = 1; i < 3; ++i) {
      const int32_t k = n[i] > 1 ? 2 : 1;
      g.axis[i] = {n[i], pooled[i], k, k, 0, 1};
    }
    return g;
  }
};

SampledAxes resize_axes(const std::array<int64_t, 3>& n, const std::array<int64_t, 3>& m, Device device) {
  SampledAxes axes;
  HostArrays arrays;
  for (size_t i = 0; i < 3; ++i) axes.set(static_cast<int>(i), n[i], 1, corner_samples(n[i], m[i]), arrays);
  axes.memory = arrays.send(device);
  return axes;
}

/// A map that is sampled at the outputs' positions; T is its element type.
template <class T>
struct Source {
  std::array<SampledAxis, 3> axis;
  int64_t inner;
  const T* x;

  template <class V>
  TP_HD TP_INLINE V at(int64_t row, int64_t w, int64_t channel) const {
    const int64_t outer = row / axis[1].m, step = axis[2].n * inner;
    const Interpolate<V, T> map{x + outer * axis[1].n * step + channel, 0, step, inner};
    return map(Sample{}, axis[1].sample(row % axis[1].m, 0), axis[2].sample(w, 0));
  }
  /// The gradient that pixel (row, w) gets of dy, a map of the outputs.
  template <class V, class D>
  TP_HD TP_INLINE V spread(const D* dy, int64_t row, int64_t w, int64_t channel) const {
    const int64_t outer = row / axis[1].n, h = row % axis[1].n;
    LongSum<V> sum;
    axis[1].each_reader(h, [&](const Reader& rh) {
      axis[2].each_reader(w, [&](const Reader& rw) {
        const int64_t out = (((outer * axis[1].m + rh.output) * axis[2].m) + rw.output) * inner + channel;
        sum.add(splat<V>(static_cast<Lane<V>>(rh.weight * rw.weight)) * load<V>(dy + out));
      });
    });
    return sum.total();
  }
};

template <class T>
struct ForwardKernel {
  Source<T> x, pooled;
  double mix;
  T* y;
  Stray stray;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    each_position_lane<Acc<T>>(x.inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      const V t = splat<V>(static_cast<Lane<V>>(mix)), rest = splat<V>(static_cast<Lane<V>>(1 - mix));
      const V value = rest * pooled.template at<V>(row, w, channel) + t * x.template at<V>(row, w, channel);
      stray.see(value);
      store(y + (row * x.axis[2].m + w) * x.inner + channel, value);
    });
  }
};

/// dp (set), in the accumulation type: of the pooled map.
template <class T>
struct PooledBackward {
  Source<T> pooled;
  double mix;
  const T* dy;
  Acc<T>* dp;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    each_position_lane<Acc<T>>(pooled.inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      const V rest = splat<V>(static_cast<Lane<V>>(1 - mix));
      store(dp + (row * pooled.axis[2].n + w) * pooled.inner + channel,
            rest * pooled.template spread<V>(dy, row, w, channel));
    });
  }
};

/// dx (set): of the map itself, and of the pooled one where this pixel was the maximum.
template <class T>
struct MapBackward {
  Source<T> x;
  WindowGeometry windows;
  double mix;
  const T* dy;
  const Acc<T>* dp;
  const uint8_t* winners;
  T* dx;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    const WindowAxis &ah = windows.axis[1], &aw = windows.axis[2];
    const int64_t h = row % ah.n, ph = h / ah.k, kh = h % ah.k, pooled_row = row / ah.n * ah.m + ph;
    each_position_lane<Acc<T>>(x.inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      V sum = splat<V>(static_cast<Lane<V>>(mix)) * x.template spread<V>(dy, row, w, channel);
      const int64_t pw = w / aw.k;
      if (ph < ah.m && pw < aw.m) {
        const int64_t from = (pooled_row * aw.m + pw) * x.inner + channel;
        const int index = static_cast<int>(kh * aw.k + w % aw.k);
        sum = sum + (load_int<V>(winners + from) == splat_int<V>(index) ? load<V>(dp + from) : splat<V>(0));
      }
      store(dx + (row * aw.n + w) * x.inner + channel, sum);
    });
  }
};

/// sums[row] = sum over the row of dy (resize(x) - resize(pooled)).
template <class T>
struct MixBackward {
  Source<T> x, pooled;
  const T* dy;
  double factor;  ///< of what is summed
  double* sums;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t /*count*/) const {
    LaneSums<Acc<T>> sum;
    const int64_t lanes = x.axis[2].m * x.inner;
    const Share along = Share::of_positions(lane, x.inner), across = Share::of_channels(lane, x.inner);
    for (int64_t w = along.first; w < x.axis[2].m; w += along.step)
      each_lane_of_share<Acc<T>>(across, x.inner, [&]<class V>(int64_t channel) {
        sum.add(load<V>(dy + row * lanes + w * x.inner + channel) *
                (x.template at<V>(row, w, channel) - pooled.template at<V>(row, w, channel)));
      });
    const double total = sum_of_row(sum.total());
    if (lane > 0) return;
    sums[row] = total * factor;
    if (total - total != 0) recompute(row);
  }
  /// The same in f64, for a row that left f32's range.
  TP_HD TP_COLD void recompute(int64_t row) const {
    const int64_t lanes = x.axis[2].m * x.inner;
    double sum = 0;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const int64_t w = lane / x.inner, channel = lane % x.inner;
      sum += load_exact(dy + row * lanes + lane) *
             (x.template at<double>(row, w, channel) - pooled.template at<double>(row, w, channel));
    }
    sums[row] = sum * factor;
  }
};

Tensor pooled_of(const ShapeAdaptorPlan& p, const Tensor& x, const Tensor& winners) {
  Dims shape = x.shape();
  shape[2] = p.pooled[1];
  shape[3] = p.pooled[2];
  const Tensor pooled = Tensor::empty(shape, {x.dtype(), x.format(), x.device()});
  max_forward(p.windows(), x, pooled, winners);
  return pooled;
}

void backward(const ShapeAdaptorPlan& p, const Dims& shape, MemoryFormat format, BackwardContext& ctx) {
  const Tensor dy = ctx.dy().contiguous(format);
  const Tensor &winners = ctx.saved(0), &x = ctx.saved(1);
  const Device device = dy.device();
  const SampledAxes from_x = resize_axes(p.n, p.m, device), from_pooled = resize_axes(p.pooled, p.m, device);
  dispatch_floating(dy.dtype(), kName, [&]<class T>(T) {
    using A = Acc<T>;
    const Source<T> map{from_x.axis, p.map.inner, x ? x.data<T>() : nullptr};
    Source<T> pooled{from_pooled.axis, p.map.inner, nullptr};
    if (ctx.needs(0)) {
      const Tensor dp = Tensor::empty({p.map.outer * p.pooled[1], p.pooled[2] * p.map.inner},
                                      {.dtype = DTypeOf<A>::value, .device = device});
      parallel_rows(device, dp.size(0), dp.size(1), 8,
                    PooledBackward<T>{pooled, p.mix, dy.data<T>(), dp.mutable_data<A>()});
      ctx.dx(0) = Tensor::empty(shape, {dy.dtype(), format, device});
      parallel_rows(device, p.map.outer * p.n[1], p.n[2] * p.map.inner, 8,
                    MapBackward<T>{map, p.windows(), p.mix, dy.data<T>(), dp.mutable_data<A>(), winners.data<uint8_t>(),
                                   ctx.dx(0).mutable_data<T>()});
    }
    if (ctx.needs(1)) {
      const int64_t rows = p.map.outer * p.m[1];
      const Tensor values = pooled_of(p, x, {});
      pooled.x = values.data<T>();
      const Tensor sums = Tensor::empty({rows}, {.dtype = DType::f64, .device = device});
      const Tensor sum = Tensor::empty({1}, {.dtype = DType::f64, .device = device});
      parallel_rows(device, rows, threads_per_row(device), p.m[2] * p.map.inner * 8,
                    MixBackward<T>{map, pooled, dy.data<T>(), p.mix * (1 - p.mix), sums.mutable_data<double>()});
      column_sums(sums.reshape({rows, 1}), sum);
      ctx.dx(1) = sum.to(kCpu).to(p.alpha_type).to(p.alpha_device);
    }
  });
}

class ShapeAdaptor final : public PoolOperator {
 public:
  explicit ShapeAdaptor(const Options& options) : options_(options) {
    if (options.r1 >= options.r2) throw Error("[shape_adaptor] r1 {} is not under r2 {}", options.r1, options.r2);
  }

  std::vector<ParameterSpec> parameters(const Dims& x) const override {
    expect_rank(kName, x, {2});
    const double start = options_.alpha;
    return {{.name = "alpha", .shape = {1}, .kind = ParameterKind::shape, .init = [start](const Tensor& t, uint64_t) {
               t.fill(start);
             }}};
  }
  Dims output_shape(const Dims& x, std::span<const Tensor> tensors) const override {
    const ShapeAdaptorPlan p = plan(x, tensors);
    return {x[0], x[1], p.m[1], p.m[2]};
  }

  bool by_channels(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const override { return true; }
  Tensor run(const Tensor& x, std::span<const Tensor> tensors, const PoolMode& mode) const override {
    ShapeAdaptorPlan p = plan(x.shape(), tensors);
    const Tensor& alpha = tensors[0];
    const MemoryFormat format = x.format();
    p.map = MapLayout::of(x.shape(), format);
    const Tensor dense = x.contiguous(format);
    const Tensor y = Tensor::empty({x.size(0), x.size(1), p.m[1], p.m[2]}, {x.dtype(), format, x.device()});
    Tensor winners;
    if (Tape::wants({x}))
      winners = Tensor::empty({x.size(0), x.size(1), p.pooled[1], p.pooled[2]}, {DType::u8, format, x.device()});
    const Tensor pooled = pooled_of(p, dense, winners);
    const SampledAxes from_x = resize_axes(p.n, p.m, x.device()), from_pooled = resize_axes(p.pooled, p.m, x.device());
    int strayed = 0;
    dispatch_floating(x.dtype(), kName, [&]<class T>(T) {
      const ForwardKernel<T> kernel{{from_x.axis, p.map.inner, dense.data<T>()},
                                    {from_pooled.axis, p.map.inner, pooled.data<T>()},
                                    p.mix,
                                    y.mutable_data<T>(),
                                    {x.device() == kCpu ? &strayed : nullptr}};
      parallel_rows(x.device(), p.map.outer * p.m[1], p.m[2] * p.map.inner, 16, kernel);
    });
    if (strayed && near_the_ends(x)) return forward_in_f64(x, tensors, mode);
    const Dims shape = x.shape();
    Tape::record(kName, {x, alpha}, {y}, {winners, Tape::wants({alpha}) ? dense : Tensor{}},
                 [p, shape, format](BackwardContext& ctx) { backward(p, shape, format, ctx); });
    return y;
  }

  TracedShape trace(const TracedShape& x, std::span<const Tensor> tensors, const std::string& /*name*/,
                    Trace& /*trace*/) const override {
    const ShapeAdaptorPlan p = plan(x.dims(), tensors);
    TracedShape y{.n = x.n, .c = x.c, .lengths = {}};
    for (size_t i = 0; i < 2; ++i) {
      TracedLength m = x.lengths[i].then(p.m[1 + i], p.scale);
      const double slope = static_cast<double>(p.n[1 + i]) * (options_.r2 - options_.r1) * p.mix * (1 - p.mix);
      m.add(tensors[0], 0, options_.grad == Grad::straight_through ? slope : 0);
      y.lengths.push_back(std::move(m));
    }
    return y;
  }

 private:
  ShapeAdaptorPlan plan(const Dims& x, std::span<const Tensor> tensors) const {
    expect_parameters(kName, parameters(x), tensors);
    ShapeAdaptorPlan p;
    p.alpha_type = tensors[0].dtype();
    p.alpha_device = tensors[0].device();
    const double a = tensors[0].values()[0];
    if (!std::isfinite(a)) throw Error("[shape_adaptor] alpha: expected a finite number, got {}", a);
    p.mix = window::sigmoid(a);
    p.scale = options_.r1 + (options_.r2 - options_.r1) * p.mix;
    double elements = static_cast<double>(x[0]) * static_cast<double>(x[1]);
    for (size_t i = 1; i < 3; ++i) {
      p.n[i] = x[1 + static_cast<int>(i)];
      if (p.n[i] < 1) throw Error("[shape_adaptor] a map of length {} on axis {}", p.n[i], i - 1);
      const double m = std::max(1.0, std::floor(static_cast<double>(p.n[i]) * p.scale));
      elements *= m;
      if (elements > 0x1p31)
        throw Error("[shape_adaptor] the output of {} would have more than 2^31 elements", x.str());
      p.pooled[i] = std::max<int64_t>(1, p.n[i] / 2);
      p.m[i] = static_cast<int64_t>(m);
    }
    return p;
  }

  Options options_;
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_shape_adaptor() {
  static const PoolDescription description = describe_pool<ShapeAdaptor, Options>(
      {.name = kName,
       .ranks = {2},
       .parameters = {"alpha"},
       .formula = "t = sigmoid(a), s = r1 + (r2 - r1) t, m = max(1, floor(n s)); "
                  "y = (1 - t) resize(max_pool_2x2(x)) + t resize(x), bilinear, corners aligned",
       .gradient =
           "that of the formula in x and t; the length has none, or with \"straight_through\" d m / d (n s) = 1 in "
           "the GMACs",
       .source = "Liu, Lin, Liu, Johns, Davison: Shape Adaptor, ECCV 2020",
       .keeps = "the winner's index, 1 byte per pooled element; x when alpha is learned"});
  return description;
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
