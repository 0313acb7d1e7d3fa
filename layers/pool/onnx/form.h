// An operator's ONNX form: the standard operators that compute in evaluation what it does. A form is a function, one
// line in the table of its file; an operator without one cannot be exported, and says so.
#pragma once
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/onnx.h"
#include "layers/pool/geometry.h"
#include "layers/pool/number.h"
#include "layers/pool/operator.h"

namespace tidepool::pool_onnx {

/// Numbers that a form computes with: as `units` broadcast against windows [N, C, m..., K].
struct Numbers {
  std::vector<double> values;
  std::vector<int64_t> units;

  template <class F>
  Numbers through(const F& f) const {
    Numbers other = *this;
    for (double& v : other.values) v = f(v);
    return other;
  }
};

/// What a form sees of an operator on a map whose size is known.
struct Call {
  onnx::Graph& graph;
  onnx::Value x;
  Dims shape, output;  ///< of x and of the result
  Json config;         ///< with "type", and with every key that has a default
  std::vector<std::pair<std::string, Tensor>> tensors;

  const std::string& name() const { return config.at("type").get_ref<const std::string&>(); }
  int rank() const { return shape.rank() - 2; }
  /// Undefined where the operator does not have it.
  Tensor tensor(const std::string& name) const;
  /// The same as a constant of the graph.
  onnx::Value constant(const std::string& name) const { return graph.constant(tensor(name), name); }
  onnx::Value constant(const Numbers& n) const { return graph.numbers(n.values, n.units); }
  /// The key's value, or the tensor's elements, where it is learned, as the operator sees them.
  Numbers numbers(const std::string& key, const std::string& tensor, Through through = Through::itself) const;
  /// A key that is one number or one per axis.
  PerAxis<int64_t> per_axis(const char* key) const;
  /// The spatial axes of the operator's windows.
  std::vector<WindowAxis> windows() const;
};

using Form = onnx::Value (*)(const Call& call);
struct NamedForm {
  const char* name;
  Form form;
};
// The tables, by file.
std::span<const NamedForm> window_forms();
std::span<const NamedForm> grid_forms();
std::span<const NamedForm> convolution_forms();
std::span<const NamedForm> resampling_forms();
onnx::Value dynopool(const Call& call);

/// Null where an operator has none.
Form find_form(const std::string& name);

// -- what forms share

/// A convolution without groups, or depthwise; `weight` [O, C/groups, k...].
onnx::Value conv(const onnx::Value& x, const onnx::Value& weight, const std::vector<onnx::Value>& bias,
                 const std::vector<WindowAxis>& axes, int64_t groups = 1);
/// The largest element of every window, or its mean over the elements on the map.
onnx::Value max_pool(const onnx::Value& x, const std::vector<WindowAxis>& axes);
onnx::Value avg_pool(const onnx::Value& x, const std::vector<WindowAxis>& axes, bool count_padding = false);
/// Elements at `begin` and `end` - `begin` of the output's start: [begin..., end...] of ONNX's `pads`.
std::vector<int64_t> pads(const std::vector<WindowAxis>& axes);

/// The windows of one axis: k positions of each, absent ones named by the window's first element.
struct AxisWindows {
  int64_t n = 0, m = 0, k = 0;
  std::vector<int64_t> positions;  ///< [m][k]
  std::vector<bool> real;          ///< [m][k]
  bool tiled = false;              ///< every position lies in one window

  static AxisWindows of(const WindowAxis& axis);
  /// [begin, begin + length) of each window.
  static AxisWindows of(int64_t n, const std::vector<std::pair<int64_t, int64_t>>& spans);
};

/// All elements of all windows of a map, as window_operator.h shows them to an operator.
class Windows {
 public:
  Windows(const onnx::Value& x, const std::vector<AxisWindows>& axes);
  Windows(const Call& call);

  const onnx::Value& x() const { return x_; }  ///< [N, C, m..., K]; what is absent repeats another element
  /// Another map of the same shape, by the same windows.
  onnx::Value elements(const onnx::Value& map) const;
  // of every window: [N, C, m..., 1]
  onnx::Value max() const;
  onnx::Value max(const onnx::Value& v) const;
  onnx::Value sum(const onnx::Value& v) const;
  onnx::Value mean(const onnx::Value& v) const;
  onnx::Value exact_mean() const;  ///< of x, summed in f64
  /// Of elements sorted from the largest on, minus m: the sum of them by weights of their ranks, weight(unit, number of
  /// elements, rank) for each of `units`, which broadcast as Numbers' do.
  template <class Weight>
  onnx::Value ranked_sum(const onnx::Value& m, const std::vector<int64_t>& units, const Weight& weight) const;
  /// [N, C, m...] of [N, C, m..., 1].
  onnx::Value result(const onnx::Value& y) const;

 private:
  onnx::Value count() const;
  onnx::Value sorted(const onnx::Value& m) const;
  onnx::Value ranked_sum(const onnx::Value& sorted, const std::vector<double>& weights,
                         std::vector<int64_t> shape) const;

  std::vector<AxisWindows> axes_;
  std::vector<int64_t> outputs_;  // m...
  std::vector<int64_t> counts_;   // elements of each window
  int64_t volume_ = 1;
  bool full_ = true;
  std::vector<bool> real_;  // [m...][K]
  std::vector<int64_t> mask_shape_;
  onnx::Value mask_;  // real_, where not all are
  onnx::Value x_;
};

template <class Weight>
onnx::Value Windows::ranked_sum(const onnx::Value& m, const std::vector<int64_t>& units, const Weight& weight) const {
  const std::vector<int64_t> counts = full_ ? std::vector<int64_t>{volume_} : counts_;
  std::vector<double> weights;
  std::vector<int64_t> shape = units.empty() ? std::vector<int64_t>{1} : std::vector<int64_t>{units[0]};
  for (int64_t unit = 0; unit < shape[0]; ++unit)
    for (const int64_t count : counts)
      for (int64_t rank = 0; rank < volume_; ++rank)
        weights.push_back(rank < count ? weight(static_cast<size_t>(unit), count, rank) : 0.0);
  for (const int64_t length : outputs_) shape.push_back(full_ ? 1 : length);
  shape.push_back(volume_);
  return ranked_sum(sorted(m), weights, std::move(shape));
}

}  // namespace tidepool::pool_onnx
