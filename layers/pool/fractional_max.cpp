// fractional_max: maxima of windows at pseudo-random starts, so that the map shrinks by any factor.
#include <cmath>

#include "core/philox.h"
#include "core/tape.h"
#include "layers/pool/operator.h"
#include "layers/pool/scale.h"
#include "layers/pool/spans.h"
#include "layers/pool/tables.h"

namespace tidepool {
namespace {

constexpr const char* kName = "fractional_max";
constexpr uint64_t kPurpose = uint64_t{0x66726163} << 32;  // "frac", the high half of the stream

struct Options : ScaleOptions {
  PerAxis<int64_t> kernel = PerAxis<int64_t>::all(2);

  void keys(Keys& k) {
    k.integers("kernel", kernel, "Size of the window.").at_least(1).at_most(1 << 20);
    ScaleOptions::keys(k);
  }
};

struct FractionalPlan {
  int rank = 0;
  std::array<int64_t, 3> n{1, 1, 1}, m{1, 1, 1}, k{1, 1, 1};

  /// Start of window i on an axis, torch's sequence.
  int64_t start(size_t axis, int64_t i, double u) const {
    const int64_t room = n[axis] - k[axis];
    if (i == m[axis] - 1) return room;
    const double step = static_cast<double>(room) / static_cast<double>(m[axis] - 1);
    return static_cast<int64_t>(std::floor((static_cast<double>(i) + u) * step) - std::floor(u * step));
  }
  /// Windows for u [planes][rank]; without it for u = 1/2.
  SpanAxes spans(const Tensor& u, Device device) const {
    const std::vector<double> draws = u ? u.values() : std::vector<double>();
    SpanAxes axes;
    for (size_t axis = 0; axis < 3; ++axis) {
      const int entry = static_cast<int>(axis) - (3 - rank);
      const bool own = u && entry >= 0;
      const int64_t planes = own ? u.numel() / rank : 1;
      std::vector<Span> windows;
      for (int64_t plane = 0; plane < planes; ++plane)
        for (int64_t i = 0; i < m[axis]; ++i) {
          const int64_t at = own ? start(axis, i, draws[static_cast<size_t>(plane * rank + entry)])
                                 : middle_start(n[axis], m[axis], k[axis], i);
          windows.push_back({static_cast<int32_t>(at), static_cast<int32_t>(at + k[axis])});
        }
      axes.set(static_cast<int>(axis), n[axis], windows, planes, m[axis], device);
    }
    return axes;
  }
};

class FractionalMax final : public PoolOperator {
 public:
  explicit FractionalMax(const Options& options) : options_(options) { options_.check(kName); }

  std::vector<ParameterSpec> optional_inputs(const Dims& x) const override {
    return {{.name = "u", .shape = {x[0], x[1], x.rank() - 2}, .kind = ParameterKind::number, .init = {}}};
  }
  Dims output_shape(const Dims& x, std::span<const Tensor> tensors) const override {
    const FractionalPlan p = plan(x);
    if (tensors.empty())
      expect_parameters(kName, {}, tensors);
    else
      expect_parameters(kName, optional_inputs(x), tensors);
    return resized_shape(kName, x, x[1], p.m);
  }

  bool by_channels(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const override { return true; }
  Tensor run(const Tensor& x, std::span<const Tensor> tensors, const PoolMode& mode) const override {
    const Dims shape = x.shape();
    const FractionalPlan p = plan(shape);
    const MemoryFormat format = x.format();
    const MapLayout map = MapLayout::of(shape, format);
    const Tensor y = Tensor::empty(output_shape(shape, tensors), {x.dtype(), format, x.device()});
    const Tensor u = draws(shape, tensors, mode);
    const SpanAxes spans = p.spans(u, x.device());
    Tensor winners;
    if (Tape::wants({x})) winners = empty_span_winners(spans.volume, y);
    span_max(kName, spans, map, {0, spans.positions_out()}, x.contiguous(format), y, winners);
    Tape::record(kName, {x}, {y}, {winners, u}, [p, map, shape, format](BackwardContext& ctx) {
      if (!ctx.needs(0)) return;
      const Tensor dy = ctx.dy().contiguous(format);
      const SpanAxes axes = p.spans(ctx.saved(1), dy.device());
      ctx.dx(0) = Tensor::empty(shape, {dy.dtype(), format, dy.device()});
      span_max_backward(kName, axes, map, {0, axes.positions_out()}, ctx.saved(0), dy, ctx.dx(0));
    });
    return y;
  }

  TracedShape trace(const TracedShape& x, std::span<const Tensor> tensors, const std::string& /*name*/,
                    Trace& /*trace*/) const override {
    return options_.trace(x, output_shape(x.dims(), tensors));
  }

 private:
  FractionalPlan plan(const Dims& x) const {
    FractionalPlan p;
    p.m = options_.lengths(kName, x, {2, 3});
    p.rank = x.rank() - 2;
    options_.kernel.expect_axes(kName, "kernel", p.rank);
    for (int i = 0; i < p.rank; ++i) {
      const auto axis = static_cast<size_t>(3 - p.rank + i);
      p.n[axis] = x[2 + i];
      p.k[axis] = options_.kernel[i];
      if (p.m[axis] + p.k[axis] - 1 > p.n[axis])
        throw Error("[fractional_max] {} windows of kernel {} want a length of at least {}, got {} on axis {}",
                    p.m[axis], p.k[axis], p.m[axis] + p.k[axis] - 1, p.n[axis], i);
    }
    return p;
  }

  /// u [N, C, axes] in f64, given or drawn; undefined where all are 1/2.
  static Tensor draws(const Dims& x, std::span<const Tensor> tensors, const PoolMode& mode) {
    if (!tensors.empty()) {
      const Tensor u = tensors[0].to(kCpu).to(DType::f64);
      for (double v : u.values())
        if (!(v >= 0 && v < 1)) throw Error("[fractional_max] u: expected numbers in [0, 1), got {}", v);
      return u;
    }
    if (!mode.training) return {};
    const Tensor u = Tensor::empty({x[0], x[1], x.rank() - 2}, {.dtype = DType::f64});
    Random random(mode.seed, kPurpose ^ mode.step);
    double* const draws = u.mutable_data<double>();
    for (int64_t i = 0; i < u.numel(); ++i) draws[i] = random.uniform();
    return u;
  }

  Options options_;
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_fractional_max() {
  static const PoolDescription description = describe_pool<FractionalMax, Options>(
      {.name = kName,
       .ranks = {2, 3},
       .parameters = {"u"},
       .formula =
           "y_i = max of x over [s_i, s_i + k), s_i = floor((i + u) A) - floor(u A), A = (n - k) / (m - 1), the last "
           "n - k; u in [0, 1) is drawn per image, channel and axis in training, else 1/2, or given as tensor u",
       .gradient = "dx_i = sum over windows dy at the first of the largest elements, else 0",
       .source = "Graham: Fractional max-pooling, 2014",
       .keeps = "the winner's index, 1 byte per output (4 when a window has over 256 elements); what was drawn"});
  return description;
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
