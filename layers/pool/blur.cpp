// blur: a binomial filter and a stride. max_blur: the maximum at stride 1, then blur: max pooling without the aliasing.
#include <algorithm>

#include "core/tape.h"
#include "layers/pool/bands.h"
#include "layers/pool/max.h"
#include "layers/pool/operator.h"
#include "layers/pool/tables.h"
#include "layers/pool/window_kernels.h"

namespace tidepool {
namespace {

constexpr const char *kBlur = "blur", *kMaxBlur = "max_blur";

/// Both operators' keys; blur has no maximum before its filter.
struct Options {
  bool with_max = false;
  PerAxis<int64_t> kernel = PerAxis<int64_t>::all(1), filter = PerAxis<int64_t>::all(3), stride{};

  int64_t step(int axis) const { return stride.count > 0 ? stride[axis] : with_max ? kernel[axis] : filter[axis]; }
  const char* name() const { return with_max ? kMaxBlur : kBlur; }
  const char* filter_key() const { return with_max ? "filter" : "kernel"; }

 protected:
  static constexpr double kLargest = 1 << 10;  // binomials of more stand under the least f64
  void stride_key(Keys& k, const char* otherwise) {
    k.integers("stride", stride, "Positions between neighbouring outputs.")
        .otherwise(otherwise)
        .at_least(1)
        .at_most(1 << 20);
  }
};
struct BlurOptions : Options {
  void keys(Keys& k) {
    k.integers("kernel", filter, "Size of the filter, odd or even.").at_least(1).at_most(kLargest);
    stride_key(k, "as kernel");
  }
};
struct MaxBlurOptions : Options {
  MaxBlurOptions() {
    with_max = true;
    kernel = PerAxis<int64_t>::all(2);
  }
  void keys(Keys& k) {
    k.integers("kernel", kernel, "Size of the maximum's window.").at_least(1).at_most(1 << 20);
    k.integers("filter", filter, "Size of the filter, odd or even.").at_least(1).at_most(kLargest);
    stride_key(k, "kernel");
  }
};

/// The filter on an axis of n positions with a stride: absent positions are those that a mirror at the border shows.
BandMatrix filter_matrix(int64_t n, int64_t k, int64_t stride) {
  const std::vector<double> taps = binomial_taps(k);
  const int64_t left = (k - 1) / 2;
  BandMatrix matrix{.n = n, .rows = {}, .weights = {}};
  const auto mirrored = [n](int64_t at) { return at < 0 ? -at : at >= n ? 2 * (n - 1) - at : at; };
  for (int64_t begin = -left; begin + left < n; begin += stride) {
    int64_t first = n, last = 0;
    for (int64_t t = 0; t < k; ++t) {
      first = std::min(first, mirrored(begin + t));
      last = std::max(last, mirrored(begin + t));
    }
    std::vector<double> weights(static_cast<size_t>(last - first + 1), 0.0);
    for (int64_t t = 0; t < k; ++t)
      weights[static_cast<size_t>(mirrored(begin + t) - first)] += taps[static_cast<size_t>(t)];
    matrix.add(first, weights);
  }
  return matrix;
}

struct BlurPlan {
  std::array<WindowAxis, 3> windows;                        // of the maximum
  std::array<int64_t, 3> filter{1, 1, 1}, stride{1, 1, 1};  // on its output

  std::array<BandMatrix, 3> matrices() const {
    std::array<BandMatrix, 3> all;
    for (size_t i = 0; i < 3; ++i) all[i] = filter_matrix(windows[i].m, filter[i], stride[i]);
    return all;
  }
};

class Blur final : public PoolOperator {
 public:
  explicit Blur(const Options& options) : options_(options) {}

  Dims output_shape(const Dims& x, std::span<const Tensor> parameters) const override {
    const BlurPlan p = plan(x);
    expect_parameters(options_.name(), {}, parameters);
    std::array<int64_t, 3> m{};
    for (size_t i = 0; i < 3; ++i) m[i] = (p.windows[i].m - 1) / p.stride[i] + 1;
    return resized_shape(options_.name(), x, x[1], m);
  }

  bool by_channels(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const override { return true; }
  Tensor run(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& /*mode*/) const override {
    const Dims shape = x.shape();
    const BlurPlan p = plan(shape);
    const MemoryFormat format = x.format();
    const MapLayout map = MapLayout::of(shape, format);
    const WindowGeometry g{p.windows, map};
    const Tensor y = Tensor::empty(output_shape(shape, parameters), {x.dtype(), format, x.device()});
    Tensor sharp = x.contiguous(format), winners;
    if (options_.with_max) {
      const Tensor maxima = Tensor::empty(pooled_shape(shape, shape[1], p.windows), sharp.options());
      if (Tape::wants({x})) winners = window::empty_winners(g, maxima);
      max_forward(g, sharp, maxima, winners);
      sharp = maxima;
    }
    apply_bands(options_.name(), p.matrices(), map, sharp, y);
    Tape::record(options_.name(), {x}, {y}, {winners}, [this, p, g, shape, format](BackwardContext& ctx) {
      if (!ctx.needs(0)) return;
      const Tensor dy = ctx.dy().contiguous(format);
      const DType type = dy.dtype();
      Tensor& dx = ctx.dx(0);
      const auto empty = [&](const Dims& like, DType t) { return Tensor::empty(like, {t, format, dy.device()}); };
      const std::array<BandMatrix, 3> matrices = transposed(p.matrices());
      if (!options_.with_max) {
        dx = empty(shape, type);
        return apply_bands(options_.name(), matrices, g.map, dy, dx);
      }
      // in the type of sums, so that bf16 rounds once
      const DType sums = type == DType::bf16 ? DType::f32 : type;
      const Tensor sharpened = empty(pooled_shape(shape, shape[1], p.windows), sums), whole = empty(shape, sums);
      apply_bands(options_.name(), matrices, g.map, dy, sharpened);
      max_backward(g, ctx.saved(0), sharpened, whole);
      dx = whole.to(type);
    });
    return y;
  }

  /// Straight through the rounding of the length over the stride.
  TracedShape trace(const TracedShape& x, std::span<const Tensor> parameters, const std::string& /*name*/,
                    Trace& /*trace*/) const override {
    const Dims y = output_shape(x.dims(), parameters);
    TracedShape out{.n = x.n, .c = x.c, .lengths = {}};
    for (size_t i = 0; i < x.lengths.size(); ++i)
      out.lengths.push_back(
          x.lengths[i].then(y[2 + static_cast<int>(i)], 1.0 / static_cast<double>(options_.step(static_cast<int>(i)))));
    return out;
  }

 private:
  BlurPlan plan(const Dims& x) const {
    const char* name = options_.name();
    const int rank = expect_rank(name, x, {1, 2, 3});
    options_.kernel.expect_axes(name, "kernel", rank);
    options_.filter.expect_axes(name, options_.filter_key(), rank);
    options_.stride.expect_axes(name, "stride", rank);
    expect_positions(name, x);
    BlurPlan p;
    for (int i = 0; i < rank; ++i) {
      const auto a = static_cast<size_t>(3 - rank + i);
      const int64_t k = options_.kernel[i], f = options_.filter[i], n = x[2 + i];
      if (k > n) throw Error("[{}] kernel {} does not fit an input of length {}", name, k, n);
      p.windows[a] = {n, n - k + 1, static_cast<int32_t>(k), 1, 0, 1};
      p.filter[a] = f;
      p.stride[a] = options_.step(i);
      const int64_t reach = f / 2;  // positions that the mirror shows on the right: ceil((f - 1) / 2)
      if (p.windows[a].m <= reach)
        throw Error("[{}] {} {} reflects {} positions, but axis {} has {}: expected a longer one", name,
                    options_.filter_key(), f, reach, i, p.windows[a].m);
    }
    return p;
  }

  Options options_;
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_blur() {
  static const PoolDescription description = describe_pool<Blur, BlurOptions>(
      {.name = kBlur,
       .ranks = {1, 2, 3},
       .parameters = {},
       .formula =
           "y_i = sum over axes' taps t of binomial(k - 1, t) / 2^(k - 1) x at i stride - floor((k - 1) / 2) + t, "
           "reflected at the borders",
       .gradient = "that of the formula",
       .source = "Zhang: Making convolutional networks shift-invariant again, ICML 2019",
       .keeps = "nothing"});
  return description;
}

const PoolDescription& pool_max_blur() {
  static const PoolDescription description = describe_pool<Blur, MaxBlurOptions>(
      {.name = kMaxBlur,
       .ranks = {1, 2, 3},
       .parameters = {},
       .formula = "y = blur of size `filter` with the stride, of the maximum over windows of `kernel` at stride 1",
       .gradient = "that of the formula; of equal elements the first gets it",
       .source = "Zhang: Making convolutional networks shift-invariant again, ICML 2019",
       .keeps = "the winner's index, 1 byte per element (4 when a window has over 256 elements)"});
  return description;
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
