// strip: a gate for every position from the means of its row and its column. It does not resize.
#include <string_view>

#include "core/backend/conv.h"
#include "core/lane_math.h"
#include "core/tape.h"
#include "layers/init.h"
#include "layers/pool/bands.h"
#include "layers/pool/geometry.h"
#include "layers/pool/operator.h"

namespace tidepool {
namespace {

constexpr const char* kName = "strip";

struct Options {
  void keys(Keys& /*k*/) {}
};

// A row of all kernels is (outer, h), its lanes are (w, inner).

/// s (set) = relu(row + col), from maps of the rows [.., H, inner] and of the columns [.., W, inner].
template <class A>
struct Cross {
  int64_t height, width, inner;
  const A *row, *col;
  A* s;

  TP_HD void operator()(int64_t at, int64_t lane, int64_t count) const {
    const int64_t outer = at / height;
    each_position_lane<A>(inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      const V v = load<V>(row + at * inner + channel) + load<V>(col + (outer * width + w) * inner + channel);
      store(s + (at * width + w) * inner + channel, v <= splat<V>(0) ? splat<V>(0) : v);
    });
  }
};

/// y (set) = x sigmoid(f).
template <class T>
struct Gate {
  const T* x;
  const Acc<T>* f;
  T* y;
  int64_t lanes;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    each_lane<Acc<T>>(row * lanes + lane, count,
                      [&]<class V>(int64_t i) { store(y + i, load<V>(x + i) * sigmoid_lanes(load<V>(f + i))); });
  }
};

/// df (set) = dy x g (1 - g), g = sigmoid(f), 1 - g = sigmoid(-f).
template <class T>
struct GateBackward {
  const T *dy, *x;
  const Acc<T>* f;
  Acc<T>* df;
  int64_t lanes;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    each_lane<Acc<T>>(row * lanes + lane, count, [&]<class V>(int64_t i) {
      const V v = load<V>(f + i);
      store(df + i, load<V>(dy + i) * load<V>(x + i) * (sigmoid_lanes(v) * sigmoid_lanes(-v)));
    });
  }
};

/// ds (in place) = ds where s > 0, else 0.
template <class A>
struct ReluBackward {
  const A* s;
  A* ds;
  int64_t lanes;

  TP_HD void operator()(int64_t row, int64_t lane, int64_t count) const {
    each_lane<A>(row * lanes + lane, count, [&]<class V>(int64_t i) {
      store(ds + i, load<V>(s + i) <= splat<V>(0) ? splat<V>(0) : load<V>(ds + i));
    });
  }
};

/// dx (set) = dy sigmoid(f) + drow / width + dcol / height.
template <class T>
struct MapBackward {
  int64_t height, width, inner;
  const T* dy;
  const Acc<T>*f, *row, *col;
  T* dx;

  TP_HD void operator()(int64_t at, int64_t lane, int64_t count) const {
    using A = Acc<T>;
    const int64_t outer = at / height;
    each_position_lane<A>(inner, lane, count, [&]<class V>(int64_t w, int64_t channel) {
      const int64_t i = (at * width + w) * inner + channel;
      const V means = load<V>(row + at * inner + channel) / splat<V>(static_cast<A>(width)) +
                      load<V>(col + (outer * width + w) * inner + channel) / splat<V>(static_cast<A>(height));
      store(dx + i, load<V>(dy + i) * sigmoid_lanes(load<V>(f + i)) + means);
    });
  }
};

/// The map's memory, and the matrices that sum along its rows or its columns (or spread a sum's gradient).
struct StripPlan {
  Dims shape;
  MemoryFormat format;
  MapLayout map;

  int64_t height() const { return shape[2]; }
  int64_t width() const { return shape[3]; }
  std::array<BandMatrix, 3> along_rows(bool mean) const {
    return {BandMatrix::identity(1), BandMatrix::identity(height()), whole(width(), mean)};
  }
  std::array<BandMatrix, 3> along_columns(bool mean) const {
    return {BandMatrix::identity(1), whole(height(), mean), BandMatrix::identity(width())};
  }
  /// A map [N, C, length], in the type of sums.
  Tensor line(int64_t length, DType type, Device device) const {
    return Tensor::empty({shape[0], shape[1], length}, {type, format, device});
  }
  Tensor plane(DType type, Device device) const { return Tensor::empty(shape, {type, format, device}); }
  /// Runs a kernel of rows (outer, h).
  template <class F>
  void rows(Device device, const F& f) const {
    parallel_rows(device, map.outer * height(), width() * map.inner, 8, f);
  }
  template <class A>
  Tensor cross(const Tensor& row, const Tensor& col) const {
    const Tensor s = plane(row.dtype(), row.device());
    rows(row.device(), Cross<A>{height(), width(), map.inner, row.data<A>(), col.data<A>(), s.mutable_data<A>()});
    return s;
  }

 private:
  static BandMatrix whole(int64_t n, bool mean) {
    return mean ? BandMatrix::means(n, {{0, static_cast<int32_t>(n)}}) : BandMatrix::sum(n);
  }
};

/// What a backward finds among the saved tensors: x, the means, the two convolutions' outputs, the gate before its
/// sigmoid, and the three weights in the type of sums.
enum Saved : size_t { kX, kRowMean, kColMean, kRow, kCol, kFuse, kRowWeight, kColWeight, kFuseWeight };

void backward(const StripPlan& p, const std::array<DType, 6>& types, BackwardContext& ctx) {
  const Tensor dy = ctx.dy().contiguous(p.format);
  const Tensor &x = ctx.saved(kX), &f = ctx.saved(kFuse);
  const Device device = x.device();
  ConvOptions same;
  same.padding = {1, 1, 1};
  dispatch_floating(dy.dtype(), kName, [&]<class T>(T) {
    using A = Acc<T>;
    const DType sums = DTypeOf<A>::value;
    const int64_t lanes = p.width() * p.map.inner;
    // Sets the gradients of a weight and of its bias, in their own types.
    const auto weights = [&](size_t first, const Tensor& in, const Tensor& out, const Tensor& w, const ConvOptions& o) {
      if (!ctx.needs(first) && !ctx.needs(first + 1)) return;
      const Tensor dw = Tensor::empty(w.shape(), {.dtype = sums, .device = device}),
                   db = Tensor::empty({w.size(0)}, {.dtype = sums, .device = device});
      conv_backward_weights(in, out, o, dw, db);
      ctx.dx(first) = dw.to(types[first - 1]);
      ctx.dx(first + 1) = db.to(types[first]);
    };
    const Tensor df = p.plane(sums, device), ds = p.plane(sums, device);
    p.rows(device, GateBackward<T>{dy.data<T>(), x.data<T>(), f.data<A>(), df.mutable_data<A>(), lanes});
    {
      const Tensor s = p.cross<A>(ctx.saved(kRow), ctx.saved(kCol));
      weights(5, s, df, ctx.saved(kFuseWeight), {});
      conv_backward_data(df, ctx.saved(kFuseWeight), {}, ds);
      p.rows(device, ReluBackward<A>{s.data<A>(), ds.mutable_data<A>(), lanes});
    }
    const Tensor drow = p.line(p.height(), sums, device), dcol = p.line(p.width(), sums, device);
    apply_bands(kName, p.along_rows(false), p.map, ds, drow);
    apply_bands(kName, p.along_columns(false), p.map, ds, dcol);
    weights(1, ctx.saved(kRowMean), drow, ctx.saved(kRowWeight), same);
    weights(3, ctx.saved(kColMean), dcol, ctx.saved(kColWeight), same);
    if (!ctx.needs(0)) return;
    const Tensor drow_mean = p.line(p.height(), sums, device), dcol_mean = p.line(p.width(), sums, device);
    conv_backward_data(drow, ctx.saved(kRowWeight), same, drow_mean);
    conv_backward_data(dcol, ctx.saved(kColWeight), same, dcol_mean);
    ctx.dx(0) = p.plane(dy.dtype(), device);
    p.rows(device, MapBackward<T>{p.height(), p.width(), p.map.inner, dy.data<T>(), f.data<A>(), drow_mean.data<A>(),
                                  dcol_mean.data<A>(), ctx.dx(0).mutable_data<T>()});
  });
}

class Strip final : public PoolOperator {
 public:
  explicit Strip(const Options& /*options*/) {}

  std::vector<ParameterSpec> parameters(const Dims& x) const override {
    expect_rank(kName, x, {2});
    const int64_t c = x[1];
    std::vector<ParameterSpec> specs;
    for (const char* layer : {"row", "col", "fuse"}) {
      const bool fuse = std::string_view(layer) == "fuse";
      specs.push_back({.name = fmt::format("{}.weight", layer),
                       .shape = fuse ? Dims{c, c, 1, 1} : Dims{c, c, 3},
                       .kind = ParameterKind::weight,
                       .init = he_normal(static_cast<double>(fuse ? c : 3 * c))});
      specs.push_back(
          {.name = fmt::format("{}.bias", layer), .shape = {c}, .kind = ParameterKind::bias, .init = constant_init(0)});
    }
    return specs;
  }
  Dims output_shape(const Dims& x, std::span<const Tensor> tensors) const override {
    expect_parameters(kName, parameters(x), tensors);
    expect_positions(kName, x);
    return x;
  }

  bool wants_room(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const override { return true; }
  bool by_channels(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const override { return true; }
  Tensor run(const Tensor& x, std::span<const Tensor> tensors, const PoolMode& /*mode*/) const override {
    const Dims shape = output_shape(x.shape(), tensors);
    const MemoryFormat format = x.format();
    const StripPlan p{shape, format, MapLayout::of(shape, format)};
    const Tensor dense = x.contiguous(format), y = p.plane(x.dtype(), x.device());
    const DType sums = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
    std::array<Tensor, 6> w;  // in the type of sums
    std::array<DType, 6> types{};
    for (size_t i = 0; i < 6; ++i) {
      types[i] = tensors[i].dtype();
      w[i] = tensors[i].to(sums).contiguous(MemoryFormat::plain);
    }
    ConvOptions same;
    same.padding = {1, 1, 1};
    const Tensor row_mean = p.line(p.height(), sums, x.device()), col_mean = p.line(p.width(), sums, x.device());
    const Tensor row = p.line(p.height(), sums, x.device()), col = p.line(p.width(), sums, x.device());
    apply_bands(kName, p.along_rows(true), p.map, dense, row_mean);
    apply_bands(kName, p.along_columns(true), p.map, dense, col_mean);
    conv_forward(row_mean, w[0], w[1], same, row);
    conv_forward(col_mean, w[2], w[3], same, col);
    const Tensor f = p.plane(sums, x.device());
    dispatch_floating(x.dtype(), kName, [&]<class T>(T) {
      using A = Acc<T>;
      conv_forward(p.cross<A>(row, col), w[4], w[5], {}, f);
      p.rows(x.device(), Gate<T>{dense.data<T>(), f.data<A>(), y.mutable_data<T>(), p.width() * p.map.inner});
    });
    std::vector<Tensor> inputs{x};
    inputs.insert(inputs.end(), tensors.begin(), tensors.end());
    const std::array<Tensor, 9> saved{dense, row_mean, col_mean, row, col, f, w[0], w[2], w[4]};
    Tape::record(kName, std::span<const Tensor>(inputs), std::span<const Tensor>(&y, 1), std::span<const Tensor>(saved),
                 [p, types](BackwardContext& ctx) { backward(p, types, ctx); });
    return y;
  }
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_strip() {
  static const PoolDescription description = describe_pool<Strip, Options>(
      {.name = kName,
       .ranks = {2},
       .parameters = {"row.weight", "row.bias", "col.weight", "col.bias", "fuse.weight", "fuse.bias"},
       .formula =
           "y = x sigmoid(fuse(relu(row(mean of x over w) + col(mean of x over h)))); row and col are convolutions "
           "of size 3, fuse one of size 1",
       .gradient = "that of the formula",
       .source = "Hou, Zhang, Cheng, Feng: Strip pooling, CVPR 2020",
       .keeps = "x, the gate (in f32 or f64), and what belongs to rows and columns",
       .resizes = false});
  return description;
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
