#include "layers/pool/onnx/form.h"

#include <algorithm>
#include <cmath>

#include "core/key_values.h"
#include "layers/pool/number.h"
#include "layers/pool/onnx.h"

namespace tidepool {
namespace pool_onnx {

Form find_form(const std::string& name) {
  if (name == "dynopool") return dynopool;
  for (const auto table : {window_forms(), grid_forms(), convolution_forms(), resampling_forms()})
    for (const NamedForm& one : table)
      if (name == one.name) return one.form;
  return nullptr;
}

Tensor Call::tensor(const std::string& name) const {
  for (const auto& [has, tensor] : tensors)
    if (has == name) return tensor;
  return {};
}

Numbers Call::numbers(const std::string& key, const std::string& name, Through through) const {
  const Tensor learned = tensor(name);
  if (!learned) return {{config.at(key).get<double>()}, {}};
  Numbers n{learned.values(), {}};
  for (double& v : n.values) {
    if (through == Through::sigmoid) v = window::sigmoid(v);
    if (through == Through::softplus) v = window::softplus(v);
  }
  const std::string per = config.value("per", "layer");
  const auto positions = static_cast<size_t>(rank());
  if (per == "channel") n.units.push_back(shape[1]);
  if (per == "place") n.units.assign(output.begin() + 2, output.end());
  if (per == "channel") n.units.insert(n.units.end(), positions, 1);
  if (per != "layer") n.units.push_back(1);
  return n;
}

PerAxis<int64_t> Call::per_axis(const char* key) const {
  PerAxis<int64_t> all;
  if (!config.contains(key)) return all;
  const Json& value = config.at(key);
  if (!value.is_array()) return PerAxis<int64_t>::all(value.get<int64_t>());
  for (const Json& one : value) all.values[static_cast<size_t>(all.count++)] = one.get<int64_t>();
  return all;
}

std::vector<WindowAxis> Call::windows() const {
  WindowOptions options;
  Keys keys(config);
  options.keys(keys);
  const auto axes = options.axes(name().c_str(), shape);
  return {axes.end() - rank(), axes.end()};
}

// -- what forms share

std::vector<int64_t> pads(const std::vector<WindowAxis>& axes) {
  std::vector<int64_t> all;
  for (const WindowAxis& a : axes) all.push_back(a.p);
  for (const WindowAxis& a : axes)  // as far as the last window reaches beyond the map
    all.push_back(std::max<int64_t>(0, a.start(a.m - 1) + int64_t{a.d} * (a.k - 1) + 1 - a.n));
  return all;
}

namespace {

onnx::Attributes window_attributes(const std::vector<WindowAxis>& axes, bool dilated) {
  std::vector<int64_t> kernel, strides, dilations;
  for (const WindowAxis& a : axes) {
    kernel.push_back(a.k);
    strides.push_back(a.s);
    dilations.push_back(a.d);
  }
  onnx::Attributes all{{"kernel_shape", kernel}, {"strides", strides}, {"pads", pads(axes)}};
  if (dilated) all.emplace_back("dilations", dilations);
  return all;
}

// Whether a runtime takes them as the pads of a pooling operator: under the kernel.
bool pads_fit(const std::vector<WindowAxis>& axes) {
  const std::vector<int64_t> all = pads(axes);
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i] > 0 && all[i] >= axes[i % axes.size()].k) return false;
  return true;
}

std::vector<AxisWindows> axis_windows(const std::vector<WindowAxis>& axes) {
  std::vector<AxisWindows> all;
  for (const WindowAxis& a : axes) all.push_back(AxisWindows::of(a));
  return all;
}

}  // namespace

onnx::Value conv(const onnx::Value& x, const onnx::Value& weight, const std::vector<onnx::Value>& bias,
                 const std::vector<WindowAxis>& axes, int64_t groups) {
  onnx::Attributes attributes = window_attributes(axes, true);
  attributes.emplace_back("group", groups);
  std::vector<onnx::Value> inputs{x, weight};
  inputs.insert(inputs.end(), bias.begin(), bias.end());
  return x.graph->node("Conv", inputs, attributes);
}

onnx::Value max_pool(const onnx::Value& x, const std::vector<WindowAxis>& axes) {
  if (pads_fit(axes)) return x.graph->node("MaxPool", {x}, window_attributes(axes, true));
  const Windows w(x, axis_windows(axes));
  return w.result(w.max());
}

onnx::Value avg_pool(const onnx::Value& x, const std::vector<WindowAxis>& axes, bool count_padding) {
  const std::vector<int64_t> reach = pads(axes);
  bool dilated = false, overhangs = false;  // an overhang over the padding is not counted
  double volume = 1;
  for (size_t i = 0; i < axes.size(); ++i) {
    dilated |= axes[i].d != 1;
    overhangs |= reach[axes.size() + i] > axes[i].p;
    volume *= axes[i].k;
  }
  if (!dilated && pads_fit(axes) && !(count_padding && overhangs)) {
    onnx::Attributes attributes = window_attributes(axes, false);
    attributes.emplace_back("count_include_pad", int64_t{count_padding});
    return x.graph->node("AveragePool", {x}, attributes);
  }
  const Windows w(x, axis_windows(axes));
  if (!count_padding) return w.result(w.mean(w.x()));
  std::vector<double> counts{1};  // [m...]
  std::vector<int64_t> shape;
  for (const WindowAxis& a : axes) {
    std::vector<double> next;
    for (const double before : counts)
      for (int64_t o = 0; o < a.m; ++o) next.push_back(before * a.counted(o));
    counts = std::move(next);
    shape.push_back(a.m);
  }
  return w.result(w.sum(w.x())) / x.graph->numbers(counts, shape);
}

AxisWindows AxisWindows::of(const WindowAxis& a) {
  AxisWindows w{.n = a.n, .m = a.m, .k = a.k, .positions = {}, .real = {}, .tiled = a.tiled()};
  for (int64_t o = 0; o < a.m; ++o)
    for (int32_t e = 0; e < a.k; ++e) {
      const bool real = e >= a.first(o) && e < a.last(o);
      w.real.push_back(real);
      w.positions.push_back(a.start(o) + int64_t{a.d} * (real ? e : a.first(o)));
    }
  return w;
}

AxisWindows AxisWindows::of(int64_t n, const std::vector<std::pair<int64_t, int64_t>>& spans) {
  AxisWindows w{.n = n, .m = std::ssize(spans), .k = 0, .positions = {}, .real = {}, .tiled = false};
  for (const auto& [begin, end] : spans) w.k = std::max(w.k, end - begin);
  for (const auto& [begin, end] : spans)
    for (int64_t e = 0; e < w.k; ++e) {
      w.real.push_back(begin + e < end);
      w.positions.push_back(begin + e < end ? begin + e : begin);
    }
  return w;
}

Windows::Windows(const Call& call) : Windows(call.x, axis_windows(call.windows())) {}

Windows::Windows(const onnx::Value& x, const std::vector<AxisWindows>& axes) : axes_(axes), real_{true} {
  for (const AxisWindows& a : axes_) {
    std::vector<bool> real;  // [m...][K] of the axes so far and this one
    const auto before = static_cast<size_t>(volume_), windows = real_.size() / before;
    for (size_t o = 0; o < windows; ++o)
      for (size_t p = 0; p < static_cast<size_t>(a.m); ++p)
        for (size_t e = 0; e < before; ++e)
          for (size_t f = 0; f < static_cast<size_t>(a.k); ++f)
            real.push_back(real_[o * before + e] && a.real[p * static_cast<size_t>(a.k) + f]);
    real_ = std::move(real);
    outputs_.push_back(a.m);
    volume_ *= a.k;
  }
  full_ = std::all_of(real_.begin(), real_.end(), [](bool real) { return real; });
  for (auto at = real_.begin(); at != real_.end(); at += volume_) counts_.push_back(std::count(at, at + volume_, true));
  mask_shape_ = outputs_;
  mask_shape_.push_back(volume_);
  if (!full_) mask_ = x.graph->booleans(real_, mask_shape_);
  x_ = elements(x);
}

onnx::Value Windows::elements(const onnx::Value& map) const {
  onnx::Value v = map;
  std::vector<int64_t> order{0, 1}, within, split{0, 0}, joined{0, 0};
  const bool tiled = std::all_of(axes_.begin(), axes_.end(), [](const AxisWindows& a) { return a.tiled; });
  for (size_t i = axes_.size(); !tiled && i-- > 0;)
    v = onnx::gather(v, 2 + static_cast<int64_t>(i), map.graph->integers(axes_[i].positions, {axes_[i].m, axes_[i].k}));
  for (size_t i = 0; i < axes_.size(); ++i) {
    split.insert(split.end(), {axes_[i].m, axes_[i].k});
    joined.push_back(axes_[i].m);
    order.push_back(2 + 2 * static_cast<int64_t>(i));
    within.push_back(order.back() + 1);
  }
  joined.push_back(volume_);
  order.insert(order.end(), within.begin(), within.end());
  if (tiled) v = onnx::reshape(v, split);
  return axes_.size() == 1 ? v : onnx::reshape(onnx::transpose(v, order), joined);
}

onnx::Value Windows::max() const {
  return onnx::reduce("ReduceMax", x_, {-1});  // absent elements repeat others
}

onnx::Value Windows::max(const onnx::Value& v) const {
  return onnx::reduce("ReduceMax", v, {-1});
}

onnx::Value Windows::sum(const onnx::Value& v) const {
  if (full_) return onnx::reduce("ReduceSum", v, {-1});
  return onnx::reduce("ReduceSum", onnx::where(mask_, v, v.graph->number(0)), {-1});
}

onnx::Value Windows::count() const {
  if (full_) return x_.graph->number(static_cast<double>(volume_));
  std::vector<int64_t> shape = outputs_;
  shape.push_back(1);
  return x_.graph->numbers(std::vector<double>(counts_.begin(), counts_.end()), shape);
}

onnx::Value Windows::mean(const onnx::Value& v) const {
  return sum(v) / count();
}

onnx::Value Windows::exact_mean() const {
  constexpr int64_t kFloat = 1, kDouble = 11;
  const auto cast = [](const onnx::Value& v, int64_t type) { return v.graph->node("Cast", {v}, {{"to", type}}); };
  const onnx::Value real = full_ ? x_ : onnx::where(mask_, x_, x_.graph->number(0));
  return cast(onnx::reduce("ReduceSum", cast(real, kDouble), {-1}) / cast(count(), kDouble), kFloat);
}

onnx::Value Windows::sorted(const onnx::Value& m) const {
  onnx::Graph& g = *x_.graph;
  const onnx::Value below = x_ - m;
  const onnx::Value all = full_ ? below : onnx::where(mask_, below, g.number(-INFINITY));
  const onnx::Value in_order = g.node("TopK", {all, g.integers({volume_})}, {{"axis", int64_t{-1}}}, 2);
  if (full_) return in_order;
  std::vector<bool> ranked;
  for (const int64_t count : counts_)
    for (int64_t rank = 0; rank < volume_; ++rank) ranked.push_back(rank < count);
  return onnx::where(g.booleans(ranked, mask_shape_), in_order, g.number(0));
}

onnx::Value Windows::ranked_sum(const onnx::Value& sorted, const std::vector<double>& weights,
                                std::vector<int64_t> shape) const {
  return onnx::reduce("ReduceSum", sorted * sorted.graph->numbers(weights, std::move(shape)), {-1});
}

onnx::Value Windows::result(const onnx::Value& y) const {
  return y.graph->node("Squeeze", {y, y.graph->integers({-1})});
}

}  // namespace pool_onnx

bool has_onnx_form(const std::string& name) {
  return pool_onnx::find_form(name) != nullptr;
}

onnx::Value pool_as_onnx(onnx::Graph& graph, const onnx::Value& x, const Dims& shape, const Json& config,
                         const PoolOperator& op, std::span<const Tensor> parameters) {
  const auto name = config.at("type").get<std::string>();
  const pool_onnx::Form form = pool_onnx::find_form(name);
  if (!form) throw Error("[{}] has no ONNX form: it cannot be exported", name);
  pool_onnx::Call call{.graph = graph,
                       .x = x,
                       .shape = shape,
                       .output = op.output_shape(shape, parameters),
                       .config = config,
                       .tensors = {}};
  fill_defaults({.keys = find_pool_operator(name).keys, .options = {}, .selector = {}}, call.config);
  const std::vector<ParameterSpec> specs = op.parameters(shape);
  for (size_t i = 0; i < specs.size(); ++i) call.tensors.emplace_back(specs[i].name, parameters[i]);
  return form(call);
}

}  // namespace tidepool
