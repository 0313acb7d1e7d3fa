// diffstride: spectral pooling of learned size: a mask with soft edges, as wide as the stride leaves it, and a crop.
#include <algorithm>
#include <cmath>

#include "core/tape.h"
#include "layers/init.h"
#include "layers/pool/fourier.h"
#include "layers/pool/geometry.h"
#include "layers/pool/operator.h"
#include "layers/pool/tables.h"

namespace tidepool {
namespace {

constexpr const char* kName = "diffstride";

struct Options {
  PerAxis<double> stride = PerAxis<double>::all(2);
  double smoothness = 4;

  void keys(Keys& k) {
    k.numbers("stride", stride, "The initial stride; at most half a map's length.").at_least(1).at_most(1e6);
    k.number("smoothness", smoothness,
             "Frequencies over which the mask falls from 1 to 0; the crop keeps twice as many.")
        .above(0)
        .at_most(1e6);
  }
};

/// Largest stride of an axis of n positions.
double largest(int64_t n) {
  return std::max(1.0, static_cast<double>(n) / 2);
}

/// What one forward was, for its backward.
struct DiffStridePlan {
  int rank = 0;
  std::array<int64_t, 3> n{1, 1, 1}, m{1, 1, 1};  // axes D, H, W
  std::array<double, 3> stride{1, 1, 1};
  double smoothness = 1;
  DType type = DType::f32;  // of the parameter
  Device device{};

  bool real(size_t axis) const { return static_cast<int>(axis) >= 3 - rank; }
  /// The argument of the mask's clamp at frequency k.
  double argument(size_t axis, int64_t k) const { return mask_argument(n[axis], stride[axis], smoothness, k); }
  Spectrum mask(size_t axis) const {
    if (!real(axis)) return Spectrum::crop(1, 1);
    return masked_spectrum(n[axis], m[axis], stride[axis], smoothness);
  }
  /// d mask / d stride, as weights of the frequencies.
  Spectrum slope(size_t axis) const {
    Spectrum s{.n = n[axis], .m = m[axis], .flat = -1, .from = 0, .ramp = {}, .same = false};
    const double inside = -static_cast<double>(n[axis]) / (2 * smoothness * stride[axis] * stride[axis]);
    for (int64_t k = 0; k <= Spectrum::highest(s.m); ++k) {
      const double a = argument(axis, k);
      if (a < 0) break;
      if (a > 1) continue;
      if (s.ramp.empty()) s.from = k;
      s.ramp.push_back(a == 0 || a == 1 ? inside / 2 : inside);
    }
    return s;
  }
  std::array<Spectrum, 3> masks() const { return {mask(0), mask(1), mask(2)}; }
};

void backward(const DiffStridePlan& p, MemoryFormat format, BackwardContext& ctx) {
  const Tensor dy = ctx.dy().contiguous(format);
  const DType sums = dy.dtype() == DType::f64 ? DType::f64 : DType::f32;
  if (ctx.needs(0)) ctx.dx(0) = fourier_map(kName, p.masks(), true, dy, format, dy.dtype());
  if (!ctx.needs(1)) return;
  std::vector<double> gradient;
  for (size_t axis = 0; axis < 3; ++axis) {
    if (!p.real(axis)) continue;
    std::array<Spectrum, 3> axes = p.masks();
    axes[axis] = p.slope(axis);
    gradient.push_back(fourier_dot(kName, dy, fourier_map(kName, axes, false, ctx.saved(0), format, sums)));
  }
  ctx.dx(1) = Tensor::from<double>(std::span<const double>(gradient), {p.rank}).to(p.type).to(p.device);
}

class DiffStride final : public PoolOperator {
 public:
  explicit DiffStride(const Options& options) : options_(options) {}

  std::vector<ParameterSpec> parameters(const Dims& x) const override {
    const int rank = expect_rank(kName, x, {1, 2});
    options_.stride.expect_axes(kName, "stride", rank);
    std::vector<double> start;
    for (int i = 0; i < rank; ++i) start.push_back(std::min(options_.stride[i], largest(x[2 + i])));
    return {{.name = "stride", .shape = {rank}, .kind = ParameterKind::shape, .init = constant_init(start)}};
  }
  Dims output_shape(const Dims& x, std::span<const Tensor> tensors) const override {
    return resized_shape(kName, x, x[1], plan(x, tensors).m);
  }
  bool wants_room(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const override { return true; }
  Tensor run(const Tensor& x, std::span<const Tensor> tensors, const PoolMode& /*mode*/) const override {
    const DiffStridePlan p = plan(x.shape(), tensors);
    const MemoryFormat format = x.format();
    const Tensor dense = x.contiguous(format);
    const Tensor y = fourier_map(kName, p.masks(), false, dense, format, x.dtype());
    Tape::record(kName, {x, tensors[0]}, {y}, {Tape::wants({tensors[0]}) ? dense : Tensor{}},
                 [p, format](BackwardContext& ctx) { backward(p, format, ctx); });
    return y;
  }
  void project(std::span<const Tensor> tensors, const Dims& x) const override {
    std::vector<double> high;
    for (int i = 2; i < x.rank(); ++i) high.push_back(largest(x[i]));
    project_onto(tensors[0], std::vector<double>(high.size(), 1.0), high);
  }
  /// Straight through the rounding and the bounds of the length: d m / d (n / stride) = 1. A stride outside of its
  /// bounds counts as project would leave it: an optimizer step may have put it there.
  TracedShape trace(const TracedShape& x, std::span<const Tensor> tensors, const std::string& /*name*/,
                    Trace& /*trace*/) const override {
    const DiffStridePlan p = plan(x.dims(), tensors, /*bounded=*/true);
    TracedShape y{.n = x.n, .c = x.c, .lengths = {}};
    for (int i = 0; i < p.rank; ++i) {
      const auto axis = static_cast<size_t>(3 - p.rank + i);
      TracedLength m = x.lengths[static_cast<size_t>(i)].then(p.m[axis], 1 / p.stride[axis]);
      m.add(tensors[0], i, -static_cast<double>(p.n[axis]) / (p.stride[axis] * p.stride[axis]));
      y.lengths.push_back(std::move(m));
    }
    return y;
  }

 private:
  DiffStridePlan plan(const Dims& x, std::span<const Tensor> tensors, bool bounded = false) const {
    expect_parameters(kName, parameters(x), tensors);
    expect_positions(kName, x);
    DiffStridePlan p{.rank = x.rank() - 2,
                     .smoothness = options_.smoothness,
                     .type = tensors[0].dtype(),
                     .device = tensors[0].device()};
    const std::vector<double> strides = tensors[0].values();
    for (int i = 0; i < p.rank; ++i) {
      const auto axis = static_cast<size_t>(3 - p.rank + i);
      const int64_t n = x[2 + i];
      double s = strides[static_cast<size_t>(i)];
      if (bounded && !std::isnan(s)) s = std::min(std::max(s, 1.0), largest(n));
      if (!(s >= 1 && s <= largest(n)))
        throw Error("[diffstride] stride: expected numbers from 1 to {} (half the length {}), got {} for axis {}",
                    largest(n), n, s, i);
      const double length = std::floor(static_cast<double>(n) / s + 2 * options_.smoothness);
      p.n[axis] = n;
      p.stride[axis] = s;
      p.m[axis] = static_cast<int64_t>(std::min(static_cast<double>(n), std::max(2.0, length)));
    }
    return p;
  }

  Options options_;
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_diffstride() {
  static const PoolDescription description = describe_pool<DiffStride, Options>(
      {.name = kName,
       .ranks = {1, 2},
       .parameters = {"stride"},
       .formula = "axis after axis: frequency k of n times mask(k) = clamp((R + n / (2 stride) - |k|) / R, 0, 1), "
                  "cropped to m "
                  "= min(n, max(2, floor(n / stride + 2 R))) and scaled as spectral; R the smoothness",
       .gradient =
           "that of the formula in x; d mask / d stride = -n / (2 R stride^2) within the clamp, half of it on its "
           "ends; straight through m in the GMACs",
       .source = "Riad, Teboul, Grangier, Zeghidour: Learning strides in convolutional neural networks, ICLR 2022",
       .keeps = "x when the stride is learned"});
  return description;
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
