// spectral: a map cropped in the Fourier domain, and so any length without aliasing.
#include "core/tape.h"
#include "layers/pool/fourier.h"
#include "layers/pool/operator.h"
#include "layers/pool/scale.h"

namespace tidepool {
namespace {

constexpr const char* kName = "spectral";

class Spectral final : public PoolOperator {
 public:
  explicit Spectral(const ScaleOptions& options) : options_(options) { options_.check(kName); }

  Dims output_shape(const Dims& x, std::span<const Tensor> parameters) const override {
    const std::array<int64_t, 3> m = lengths(x);
    expect_parameters(kName, {}, parameters);
    return resized_shape(kName, x, x[1], m);
  }
  bool wants_room(const Dims& /*x*/, std::span<const Tensor> /*parameters*/) const override { return true; }
  Tensor run(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& /*mode*/) const override {
    const Dims shape = x.shape();
    output_shape(shape, parameters);
    const MemoryFormat format = x.format();
    const Tensor y = fourier_map(kName, axes(shape), false, x.contiguous(format), format, x.dtype());
    Tape::record(kName, {x}, {y}, {}, [this, shape, format](BackwardContext& ctx) {
      if (!ctx.needs(0)) return;
      const Tensor dy = ctx.dy().contiguous(format);
      ctx.dx(0) = fourier_map(kName, axes(shape), true, dy, format, dy.dtype());
    });
    return y;
  }
  TracedShape trace(const TracedShape& x, std::span<const Tensor> parameters, const std::string& /*name*/,
                    Trace& /*trace*/) const override {
    return options_.trace(x, output_shape(x.dims(), parameters));
  }

 private:
  std::array<int64_t, 3> lengths(const Dims& x) const {
    const std::array<int64_t, 3> m = options_.lengths(kName, x, {1, 2});
    for (int i = 2; i < x.rank(); ++i)
      if (const int64_t to = m[static_cast<size_t>(3 - x.rank() + i)]; to > x[i])
        throw Error("[spectral] expected an output no longer than the input's {} on axis {}, got {}", x[i], i - 2, to);
    return m;
  }
  std::array<Spectrum, 3> axes(const Dims& x) const {
    const std::array<int64_t, 3> m = lengths(x);
    std::array<Spectrum, 3> all;
    for (int i = 0; i < 3; ++i) {
      const int from = x.rank() - 3 + i;
      const int64_t n = from < 2 ? 1 : x[from];
      all[static_cast<size_t>(i)] = Spectrum::crop(n, m[static_cast<size_t>(i)]);
    }
    return all;
  }

  ScaleOptions options_;
};

}  // namespace

inline namespace TP_COMPILED_FOR {

const PoolDescription& pool_spectral() {
  static const PoolDescription description = describe_pool<Spectral, ScaleOptions>(
      {.name = kName,
       .ranks = {1, 2},
       .parameters = {},
       .formula =
           "axis after axis: the frequencies |k| <= (m - 1) / 2 of n, for even m < n those at m/2 and -m/2 added into "
           "one, back at length m, scaled by m / n (a constant map keeps its value)",
       .gradient = "that of the formula, a linear map",
       .source = "Rippel, Snoek, Adams: Spectral representations for convolutional neural networks, NIPS 2015",
       .keeps = "nothing"});
  return description;
}

}  // namespace TP_COMPILED_FOR
}  // namespace tidepool
