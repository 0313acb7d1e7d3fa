// Operators on grids and in steps: adaptive windows, drawn ones at their expectation, filters.
#include <vector>

#include "layers/pool/onnx/form.h"
#include "layers/pool/spans.h"
#include "layers/pool/tables.h"

namespace tidepool::pool_onnx {
namespace {

using onnx::Value;

// The largest element, or the mean, of each cell of a grid of these sizes over the map.
Value grid(const Call& c, const std::vector<int64_t>& sizes, bool mean) {
  std::vector<WindowAxis> even;
  std::vector<AxisWindows> uneven;
  for (int i = 0; i < c.rank(); ++i) {
    const int64_t n = c.shape[2 + i], m = sizes[static_cast<size_t>(i)];
    std::vector<std::pair<int64_t, int64_t>> spans;
    for (const Span& s : adaptive_spans(n, m)) spans.emplace_back(s.begin, s.end);
    uneven.push_back(AxisWindows::of(n, spans));
    if (const auto k = static_cast<int32_t>(n / m); n % m == 0) even.push_back({.n = n, .m = m, .k = k, .s = k});
  }
  if (even.size() == uneven.size()) return mean ? avg_pool(c.x, even) : max_pool(c.x, even);
  const Windows w(c.x, uneven);
  return w.result(mean ? w.mean(w.x()) : w.max());
}

std::vector<int64_t> output_lengths(const Call& c) {
  return {c.output.begin() + 2, c.output.end()};
}

Value adaptive_avg(const Call& c) {
  return grid(c, output_lengths(c), true);
}
Value adaptive_max(const Call& c) {
  return grid(c, output_lengths(c), false);
}

Value spp(const Call& c) {
  std::vector<Value> levels;
  for (const Json& level : c.config.at("levels")) {
    const std::vector<int64_t> sizes(static_cast<size_t>(c.rank()), level.get<int64_t>());
    levels.push_back(onnx::reshape(grid(c, sizes, c.config.at("aggregate") == "avg"), {0, 0, -1}));
  }
  return c.graph.node("Concat", levels, {{"axis", int64_t{2}}});
}

// At u = 1/2, as in evaluation.
Value fractional_max(const Call& c) {
  const PerAxis<int64_t> kernel = c.per_axis("kernel");
  std::vector<AxisWindows> axes;
  for (int i = 0; i < c.rank(); ++i) {
    std::vector<std::pair<int64_t, int64_t>> spans;
    for (int64_t o = 0; o < c.output[2 + i]; ++o) {
      const int64_t start = middle_start(c.shape[2 + i], c.output[2 + i], kernel[i], o);
      spans.emplace_back(start, start + kernel[i]);
    }
    axes.push_back(AxisWindows::of(c.shape[2 + i], spans));
  }
  const Windows w(c.x, axes);
  return w.result(w.max());
}

// The mean of stride x stride maxima, as in evaluation.
Value s3(const Call& c) {
  const PerAxis<int64_t> kernel = c.per_axis("kernel"), padding = c.per_axis("padding"), stride = c.per_axis("stride");
  std::vector<WindowAxis> maxima, means;
  for (int i = 0; i < c.rank(); ++i) {
    const int64_t n = c.shape[2 + i], m = n + 2 * padding[i] - kernel[i] + 1;
    const auto s = static_cast<int32_t>(stride[i]);
    maxima.push_back(
        {.n = n, .m = m, .k = static_cast<int32_t>(kernel[i]), .s = 1, .p = static_cast<int32_t>(padding[i])});
    means.push_back({.n = m, .m = c.output[2 + i], .k = s, .s = s});
  }
  return avg_pool(max_pool(c.x, maxima), means);
}

// The binomial filter at every stride-th position, the map mirrored at its borders.
Value blurred(const Call& c, const Value& x, const PerAxis<int64_t>& filter, const PerAxis<int64_t>& stride,
              const PerAxis<int64_t>& before) {
  std::vector<WindowAxis> axes;
  std::vector<int64_t> begin{0, 0}, end{0, 0}, shape{c.shape[1], 1};
  std::vector<double> taps{1};
  for (int i = 0; i < c.rank(); ++i) {
    const int64_t k = filter[i], n = c.shape[2 + i] - before[i] + 1 + k - 1;  // mirrored positions too
    axes.push_back({.n = n, .m = c.output[2 + i], .k = static_cast<int32_t>(k), .s = static_cast<int32_t>(stride[i])});
    begin.push_back((k - 1) / 2);
    end.push_back(k / 2);
    shape.push_back(k);
    std::vector<double> next;
    for (const double tap : taps)
      for (const double one : binomial_taps(k)) next.push_back(tap * one);
    taps = std::move(next);
  }
  begin.insert(begin.end(), end.begin(), end.end());
  std::vector<double> weights;  // of every channel
  for (int64_t channel = 0; channel < c.shape[1]; ++channel) weights.insert(weights.end(), taps.begin(), taps.end());
  const Value mirrored = c.graph.node("Pad", {x, c.graph.integers(begin)}, {{"mode", std::string("reflect")}});
  return conv(mirrored, c.graph.numbers(weights, shape), {}, axes, c.shape[1]);
}

PerAxis<int64_t> stride_or(const Call& c, const PerAxis<int64_t>& otherwise) {
  const PerAxis<int64_t> stride = c.per_axis("stride");
  return stride.count > 0 ? stride : otherwise;
}

Value blur(const Call& c) {
  const PerAxis<int64_t> filter = c.per_axis("kernel");
  return blurred(c, c.x, filter, stride_or(c, filter), PerAxis<int64_t>::all(1));
}

Value max_blur(const Call& c) {
  const PerAxis<int64_t> kernel = c.per_axis("kernel");
  std::vector<WindowAxis> axes;
  for (int i = 0; i < c.rank(); ++i) {
    const int64_t n = c.shape[2 + i], k = kernel[i];
    axes.push_back({.n = n, .m = n - k + 1, .k = static_cast<int32_t>(k), .s = 1});
  }
  return blurred(c, max_pool(c.x, axes), c.per_axis("filter"), stride_or(c, kernel), kernel);
}

constexpr NamedForm kForms[] = {
    {"adaptive_avg", adaptive_avg},
    {"adaptive_max", adaptive_max},
    {"blur", blur},
    {"fractional_max", fractional_max},
    {"global_avg", adaptive_avg},
    {"global_max", adaptive_max},
    {"max_blur", max_blur},
    {"s3", s3},
    {"spp", spp},
};

}  // namespace

std::span<const NamedForm> grid_forms() {
  return kForms;
}

}  // namespace tidepool::pool_onnx
