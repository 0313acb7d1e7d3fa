// spp: spatial pyramid pooling: adaptive grids of several sizes, one behind the other in a vector of fixed length.
#include <algorithm>
#include <cmath>

#include "core/tape.h"
#include "layers/pool/bands.h"
#include "layers/pool/geometry.h"
#include "layers/pool/operator.h"
#include "layers/pool/spans.h"

namespace tidepool {
namespace {

constexpr const char* kName = "spp";
enum class Aggregate : uint8_t { max, avg };

struct Options {
  std::vector<int64_t> levels{1, 2, 4};
  Aggregate aggregate = Aggregate::max;

  void keys(Keys& k) {
    k.list("levels", levels, "Lengths of the grids, one behind the other.").at_least(1).at_most(1 << 20);
    k.choice("aggregate", aggregate, {"max", "avg"}, "What is made of a cell.");
  }
};

class Spp final : public PoolOperator {
 public:
  explicit Spp(const Options& options) : options_(options) {}

  Dims output_shape(const Dims& x, std::span<const Tensor> parameters) const override {
    const int rank = expect_rank(kName, x, {1, 2, 3});
    expect_parameters(kName, {}, parameters);
    expect_positions(kName, x);
    double positions = 0;
    for (int64_t m : options_.levels) positions += std::pow(static_cast<double>(m), rank);
    if (positions * std::max(1.0, static_cast<double>(x[0]) * static_cast<double>(x[1])) > 0x1p31)
      throw Error("[spp] the output of {} would have more than 2^31 elements", x.str());
    return {x[0], x[1], static_cast<int64_t>(positions)};
  }

  bool by_channels(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const override { return true; }
  Tensor run(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& /*mode*/) const override {
    const Dims shape = x.shape();
    const MemoryFormat format = x.format();
    const MapLayout map = MapLayout::of(shape, format);
    const Tensor y = Tensor::empty(output_shape(shape, parameters), {x.dtype(), format, x.device()});
    const Tensor dense = x.contiguous(format);
    const bool max = options_.aggregate == Aggregate::max;
    Tensor winners;
    if (max && Tape::wants({x})) winners = empty_span_winners(largest_window(shape), y);
    each_level(shape, y.size(2), [&](int64_t m, PositionRange range) {
      if (max)
        span_max(kName, spans_of(shape, m, x.device()), map, range, dense, y, winners);
      else
        apply_bands(kName, means(shape, m), map, dense, y, false, {}, range);
    });
    const int64_t positions = y.size(2);
    Tape::record(kName, {x}, {y}, {winners}, [this, map, shape, format, positions, max](BackwardContext& ctx) {
      if (!ctx.needs(0)) return;
      const Tensor dy = ctx.dy().contiguous(format);
      const DType type = dy.dtype();
      // in the type of sums, so that bf16 rounds once
      const Tensor sum = Tensor::empty(shape, {type == DType::bf16 ? DType::f32 : type, format, dy.device()});
      bool add = false;
      each_level(shape, positions, [&](int64_t m, PositionRange range) {
        if (max)
          span_max_backward(kName, spans_of(shape, m, dy.device()), map, range, ctx.saved(0), dy, sum, add);
        else
          apply_bands(kName, transposed(means(shape, m)), map, dy, sum, add, range, {});
        add = true;
      });
      ctx.dx(0) = sum.to(type);
    });
    return y;
  }

 private:
  template <class F>
  void each_level(const Dims& x, int64_t positions, const F& f) const {
    int64_t begin = 0;
    for (int64_t m : options_.levels) {
      f(m, PositionRange{begin, positions});
      int64_t cells = 1;
      for (int i = 2; i < x.rank(); ++i) cells *= m;
      begin += cells;
    }
  }
  /// Axis i of D, H, W, as far as the map has it: its length, and its windows at a level.
  static std::pair<int64_t, std::vector<Span>> axis(const Dims& x, int64_t m, int i) {
    const int from = x.rank() - 3 + i;
    if (from < 2) return {1, adaptive_spans(1, 1)};
    return {x[from], adaptive_spans(x[from], m)};
  }
  static SpanAxes spans_of(const Dims& x, int64_t m, Device device) {
    SpanAxes axes;
    for (int i = 0; i < 3; ++i) {
      const auto [n, windows] = axis(x, m, i);
      axes.share(i, n, windows, device);
    }
    return axes;
  }
  static std::array<BandMatrix, 3> means(const Dims& x, int64_t m) {
    std::array<BandMatrix, 3> all;
    for (int i = 0; i < 3; ++i) {
      const auto [n, windows] = axis(x, m, i);
      all[static_cast<size_t>(i)] = BandMatrix::means(n, windows);
    }
    return all;
  }
  /// At the coarsest level.
  int64_t largest_window(const Dims& x) const {
    int64_t largest = 1;
    for (int64_t m : options_.levels) largest = std::max(largest, spans_of(x, m, kCpu).volume);
    return largest;
  }

  Options options_;
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_spp() {
  static const PoolDescription description = describe_pool<Spp, Options>(
      {.name = kName,
       .ranks = {1, 2, 3},
       .parameters = {},
       .formula = "y = (N, C, sum of m^rank): adaptive_max (adaptive_avg) of every level m in turn, each row-major",
       .gradient = "dx_i = sum over levels and cells: dy at the first of the largest elements, or dy / n",
       .source = "He, Zhang, Ren, Sun: Spatial pyramid pooling, ECCV 2014",
       .keeps = "max: the winner's index, 1 byte per output (4 when a cell has over 256 elements); avg: nothing",
       .resizes = false});
  return description;
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
