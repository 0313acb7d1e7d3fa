// Operators that resample a map: in the Fourier domain, a matrix for each axis; between pixels.
#include <cmath>

#include "layers/pool/number.h"
#include "layers/pool/onnx/sample.h"
#include "layers/pool/tables.h"

namespace tidepool::pool_onnx {
namespace {

using onnx::Value;

Value filtered(const Call& c, const std::vector<Spectrum>& axes) {
  Value map = c.x;
  for (size_t i = 0; i < axes.size(); ++i) {
    const Spectrum& s = axes[i];
    if (s.same) continue;
    const FourierMatrix entries(s);
    std::vector<double> matrix;
    for (int64_t o = 0; o < s.m; ++o)
      for (int64_t j = 0; j < s.n; ++j) matrix.push_back(entries(o, j));
    map = onnx::apply_matrix(map, c.shape.rank(), 2 + static_cast<int>(i), matrix, s.m, s.n);
  }
  return map;
}

Value spectral(const Call& c) {
  std::vector<Spectrum> axes;
  for (int i = 2; i < c.shape.rank(); ++i) axes.push_back(Spectrum::crop(c.shape[i], c.output[i]));
  return filtered(c, axes);
}

Value diffstride(const Call& c) {
  const std::vector<double> strides = c.tensor("stride").values();
  std::vector<Spectrum> axes;
  for (size_t i = 0; i < strides.size(); ++i)
    axes.push_back(masked_spectrum(c.shape[2 + static_cast<int>(i)], c.output[2 + static_cast<int>(i)], strides[i],
                                   c.config.at("smoothness").get<double>()));
  return filtered(c, axes);
}

// The 2x2 maximum and the map, both at the size that is learned, corners aligned.
Value shape_adaptor(const Call& c) {
  std::vector<WindowAxis> windows;
  Value map = c.x;
  for (int i = 2; i < 4; ++i) {
    const int64_t n = c.shape[i];
    const int32_t k = n > 1 ? 2 : 1;
    windows.push_back({.n = n, .m = n / k, .k = k, .s = k});
  }
  Value pooled = max_pool(c.x, windows);
  for (int i = 2; i < 4; ++i) {
    map = sampled(map, c.shape.rank(), i, corner_samples(c.shape[i], c.output[i]));
    pooled = sampled(pooled, c.shape.rank(), i, corner_samples(windows[static_cast<size_t>(i - 2)].m, c.output[i]));
  }
  const double mix = window::sigmoid(c.tensor("alpha").values()[0]);
  return pooled * (1 - mix) + map * mix;
}

constexpr NamedForm kForms[] = {{"diffstride", diffstride}, {"shape_adaptor", shape_adaptor}, {"spectral", spectral}};

}  // namespace

Value sampled(const Value& x, int rank, int axis, const std::vector<Sample>& samples) {
  std::vector<int64_t> low, high, shape{std::ssize(samples)};
  std::vector<double> fractions;
  bool between = false;
  for (const Sample& s : samples) {
    low.push_back(s.low);
    high.push_back(s.high);
    fractions.push_back(s.fraction);
    between |= s.high != s.low;
  }
  shape.insert(shape.end(), static_cast<size_t>(rank - 1 - axis), 1);
  const Value at = onnx::gather(x, axis, x.graph->integers(low));
  if (!between) return at;
  const Value next = onnx::gather(x, axis, x.graph->integers(high));
  return at + x.graph->numbers(fractions, shape) * (next - at);
}

std::span<const NamedForm> resampling_forms() {
  return kForms;
}

}  // namespace tidepool::pool_onnx
