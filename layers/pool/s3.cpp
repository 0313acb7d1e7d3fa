// s3: stochastic spatial sampling: the maximum at stride 1, of which each grid cell keeps some rows and columns by lot.
#include <algorithm>

#include "core/philox.h"
#include "core/tape.h"
#include "layers/pool/bands.h"
#include "layers/pool/max.h"
#include "layers/pool/operator.h"
#include "layers/pool/spans.h"
#include "layers/pool/window_kernels.h"

namespace tidepool {
namespace {

constexpr const char* kName = "s3";
constexpr uint64_t kPurpose = uint64_t{0x73336472} << 32;  // "s3dr", the high half of the stream

struct Options {
  PerAxis<int64_t> kernel = PerAxis<int64_t>::all(2), padding = PerAxis<int64_t>::all(0),
                   stride = PerAxis<int64_t>::all(2), grid{};

  int64_t cell(int axis) const { return grid.count > 0 ? grid[axis] : stride[axis]; }
  void keys(Keys& k) {
    constexpr double kLargest = 1 << 20;
    k.integers("kernel", kernel, "Size of the maximum's window.").at_least(1).at_most(kLargest);
    k.integers("padding", padding, "Absent positions before and after the map; at most half the kernel.")
        .at_least(0)
        .at_most(kLargest);
    k.integers("stride", stride, "Rows over rows that are kept.").at_least(1).at_most(kLargest);
    k.integers("grid", grid, "Rows of a cell, a multiple of the stride.")
        .otherwise("stride")
        .at_least(1)
        .at_most(kLargest);
  }
};

struct S3Plan {
  int rank = 0;
  std::array<WindowAxis, 3> windows;  // of the maximum
  std::array<int64_t, 3> stride{1, 1, 1}, cell{1, 1, 1}, m{1, 1, 1};

  /// The rows that are kept on each axis, drawn: of every cell's rows as many as its share, without repetition.
  SpanAxes drawn(const PoolMode& mode, Device device) const {
    SpanAxes axes;
    Random random(mode.seed, kPurpose ^ mode.step);
    for (size_t axis = 0; axis < 3; ++axis) {
      const WindowAxis& a = windows[axis];
      std::vector<Span> kept;
      for (int64_t begin = 0; begin < a.m; begin += cell[axis]) {
        int64_t rows = std::min(cell[axis], a.m - begin), wanted = (rows + stride[axis] - 1) / stride[axis];
        for (int64_t row = begin; wanted > 0;
             ++row, --rows) {  // each with the probability wanted / rows (Knuth 3.4.2 S)
          if (static_cast<int64_t>(random.below(static_cast<uint32_t>(rows))) >= wanted) continue;
          --wanted;
          kept.push_back({static_cast<int32_t>(std::max<int64_t>(0, row - a.p)),
                          static_cast<int32_t>(std::min<int64_t>(a.n, row - a.p + a.k))});
        }
      }
      axes.share(static_cast<int>(axis), a.n, kept, device);
    }
    return axes;
  }
  /// Evaluation: means over `stride` rows of the maximum.
  std::array<BandMatrix, 3> means() const {
    std::array<BandMatrix, 3> all;
    for (size_t axis = 0; axis < 3; ++axis) {
      std::vector<Span> cells;
      for (int64_t begin = 0; begin < windows[axis].m; begin += stride[axis])
        cells.push_back(
            {static_cast<int32_t>(begin), static_cast<int32_t>(std::min(begin + stride[axis], windows[axis].m))});
      all[axis] = BandMatrix::means(windows[axis].m, cells);
    }
    return all;
  }
};

class S3 final : public PoolOperator {
 public:
  explicit S3(const Options& options) : options_(options) {}

  Dims output_shape(const Dims& x, std::span<const Tensor> parameters) const override {
    const S3Plan p = plan(x);
    expect_parameters(kName, {}, parameters);
    return resized_shape(kName, x, x[1], p.m);
  }
  bool by_channels(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const override { return true; }
  Tensor run(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& mode) const override {
    const Dims shape = x.shape();
    const Tensor y = Tensor::empty(output_shape(shape, parameters), {x.dtype(), x.format(), x.device()});
    mode.training ? sample(plan(shape), x, y, mode) : expect(plan(shape), x, y);
    return y;
  }
  /// Straight through the rounding of the maximum's length over the stride.
  TracedShape trace(const TracedShape& x, std::span<const Tensor> parameters, const std::string& /*name*/,
                    Trace& /*trace*/) const override {
    const Dims y = output_shape(x.dims(), parameters);
    TracedShape out{.n = x.n, .c = x.c, .lengths = {}};
    for (int i = 0; i < y.rank() - 2; ++i)
      out.lengths.push_back(
          x.lengths[static_cast<size_t>(i)].then(y[2 + i], 1.0 / static_cast<double>(options_.stride[i])));
    return out;
  }

 private:
  /// Training: the maxima of the rows and columns that the lot keeps.
  static void sample(const S3Plan& p, const Tensor& x, const Tensor& y, const PoolMode& mode) {
    const Dims shape = x.shape();
    const MemoryFormat format = x.format();
    const MapLayout map = MapLayout::of(shape, format);
    const SpanAxes spans = p.drawn(mode, x.device());
    Tensor winners;
    if (Tape::wants({x})) winners = empty_span_winners(spans.volume, y);
    span_max(kName, spans, map, {0, spans.positions_out()}, x.contiguous(format), y, winners);
    Tape::record(kName, {x}, {y}, {winners}, [p, mode, map, shape, format](BackwardContext& ctx) {
      if (!ctx.needs(0)) return;
      const Tensor dy = ctx.dy().contiguous(format);
      const SpanAxes axes = p.drawn(mode, dy.device());
      ctx.dx(0) = Tensor::empty(shape, {dy.dtype(), format, dy.device()});
      span_max_backward(kName, axes, map, {0, axes.positions_out()}, ctx.saved(0), dy, ctx.dx(0));
    });
  }

  /// Evaluation: the mean of the maxima.
  static void expect(const S3Plan& p, const Tensor& x, const Tensor& y) {
    const Dims shape = x.shape();
    const MemoryFormat format = x.format();
    const WindowGeometry g{p.windows, MapLayout::of(shape, format)};
    const Tensor maxima = Tensor::empty(pooled_shape(shape, shape[1], p.windows), {x.dtype(), format, x.device()});
    Tensor winners;
    if (Tape::wants({x})) winners = window::empty_winners(g, maxima);
    max_forward(g, x.contiguous(format), maxima, winners);
    apply_bands(kName, p.means(), g.map, maxima, y);
    Tape::record(kName, {x}, {y}, {winners}, [p, g, shape, format](BackwardContext& ctx) {
      if (!ctx.needs(0)) return;
      const Tensor dy = ctx.dy().contiguous(format);
      // in the type of sums, so that bf16 rounds once
      const TensorOptions sums{dy.dtype() == DType::bf16 ? DType::f32 : dy.dtype(), format, dy.device()};
      const Tensor mean = Tensor::empty(pooled_shape(shape, shape[1], p.windows), sums),
                   dx = Tensor::empty(shape, sums);
      apply_bands(kName, transposed(p.means()), g.map, dy, mean);
      max_backward(g, ctx.saved(0), mean, dx);
      ctx.dx(0) = dx.to(dy.dtype());
    });
  }

  S3Plan plan(const Dims& x) const {
    const int rank = expect_rank(kName, x, {1, 2});
    options_.kernel.expect_axes(kName, "kernel", rank);
    options_.padding.expect_axes(kName, "padding", rank);
    options_.stride.expect_axes(kName, "stride", rank);
    options_.grid.expect_axes(kName, "grid", rank);
    S3Plan p;
    p.rank = rank;
    for (int i = 0; i < rank; ++i) {
      const auto axis = static_cast<size_t>(3 - rank + i);
      const int64_t n = x[2 + i], k = options_.kernel[i], pad = options_.padding[i];
      if (2 * pad > k) throw Error("[s3] padding {} is over half the kernel {}", pad, k);
      if (n < 1 || n + 2 * pad < k)
        throw Error("[s3] kernel {} does not fit an input of length {} (padding {})", k, n, pad);
      p.windows[axis] = {n, n + 2 * pad - k + 1, static_cast<int32_t>(k), 1, static_cast<int32_t>(pad), 1};
      p.stride[axis] = options_.stride[i];
      p.cell[axis] = options_.cell(i);
      if (p.cell[axis] % p.stride[axis] != 0)
        throw Error("[s3] grid {} is no multiple of the stride {}", p.cell[axis], p.stride[axis]);
      p.m[axis] = (p.windows[axis].m + p.stride[axis] - 1) / p.stride[axis];
    }
    return p;
  }

  Options options_;
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_s3() {
  static const PoolDescription description = describe_pool<S3, Options>(
      {.name = kName,
       .ranks = {1, 2},
       .parameters = {},
       .formula =
           "the maximum over windows at stride 1; training: of every `grid` rows (columns) `grid` / `stride` are drawn "
           "and kept in order, of the last cell's r rows ceil(r / stride); else the mean over stride x stride maxima",
       .gradient = "that of the formula, the draw held fixed; of equal elements the first gets it",
       .source = "Zhai et al.: S3Pool, Pooling with stochastic spatial sampling, CVPR 2017",
       .keeps = "the winner's index, 1 byte per output, in evaluation one per maximum (4 when a window has over 256 "
                "elements)"});
  return description;
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
