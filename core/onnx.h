// ONNX (onnx.ai): a graph of standard operators, and its file. A graph is written as formulas: values are added,
// multiplied and reduced, and each of these makes a node.
//
//   onnx::Graph g;
//   const onnx::Value x = g.input("input", {1, 3, 32, 32});
//   g.output(x * onnx::sigmoid(x), "output", {1, 3, 32, 32});
//   g.write("silu.onnx");
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/tensor.h"

namespace tidepool::onnx {

inline constexpr int64_t kOpset = 18, kIrVersion = 8;

class Graph;

/// An input, a constant, or what a node gives.
struct Value {
  Graph* graph = nullptr;  ///< outlives it
  std::string name;
};

using Attribute = std::variant<int64_t, double, std::string, std::vector<int64_t>>;
using Attributes = std::vector<std::pair<std::string, Attribute>>;

/// All numbers are f32, or i64 where an operator wants those.
class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// The first axis of inputs and outputs, the batch, may have any length.
  Value input(const std::string& name, const Dims& shape);
  void output(const Value& value, const std::string& name, const Dims& shape);

  /// What is made from now on is named after this layer.
  void scope(std::string layer) { scope_ = std::move(layer); }
  /// A tensor as f32, under the layer's name and this one ("features.0" "weight"); it is not copied.
  Value constant(const Tensor& tensor, const std::string& name);
  Value number(double value);
  Value numbers(std::span<const double> values, std::vector<int64_t> shape);
  Value integers(const std::vector<int64_t>& values, std::vector<int64_t> shape);
  Value integers(const std::vector<int64_t>& values) { return integers(values, {std::ssize(values)}); }
  Value booleans(const std::vector<bool>& values, std::vector<int64_t> shape);

  /// A node of the operator; the first of its outputs.
  Value node(const char* op, const std::vector<Value>& inputs, const Attributes& attributes = {}, int outputs = 1);

  /// Read by those who ask for `metadata_props`.
  void metadata(const std::string& key, const std::string& value) { metadata_[key] = value; }
  /// The operators that occur.
  const std::set<std::string>& operators() const { return operators_; }

  /// Writes atomically (AtomicFile, whose errors it has). Throws Error for a model of 2 GiB and more, which the format
  /// does not hold in one file.
  void write(const std::filesystem::path& path) const;

 private:
  struct Constant {
    std::string header, bytes;  // of the message; of the elements where there is no tensor
    Tensor tensor;
    uint64_t size() const;
  };
  std::string new_name(const std::string& wanted);
  Value constant(std::string_view name, int type, const std::vector<int64_t>& shape, std::string bytes, Tensor tensor);

  std::string scope_;
  std::map<std::string, int> names_;  // how often each was wanted
  std::map<uint32_t, std::string> scalars_;
  std::vector<std::string> nodes_, inputs_, outputs_;  // messages
  std::vector<Constant> constants_;
  std::map<std::string, std::string> metadata_;
  std::set<std::string> operators_;
};

// Element by element, shapes broadcast from the right as in numpy.
Value operator+(const Value& a, const Value& b);
Value operator-(const Value& a, const Value& b);
Value operator*(const Value& a, const Value& b);
Value operator/(const Value& a, const Value& b);
Value operator+(const Value& a, double b);
Value operator-(const Value& a, double b);
Value operator*(const Value& a, double b);
Value operator/(const Value& a, double b);
Value operator-(double a, const Value& b);
Value abs(const Value& x);
Value exp(const Value& x);
Value log(const Value& x);
Value relu(const Value& x);
Value sigmoid(const Value& x);
Value sqrt(const Value& x);
Value pow(const Value& x, const Value& exponent);
Value larger(const Value& a, const Value& b);
Value larger(const Value& a, double b);
Value where(const Value& condition, const Value& a, const Value& b);
/// e^x - 1 and log(1 + x) to the last digits near 0: from exp and log, whose roundings cancel (Kahan; Higham, Accuracy
/// and Stability of Numerical Algorithms, 1.14.1).
Value expm1(const Value& x);
Value log1p(const Value& x);

// Of whole axes; negative ones count from the last.
Value reduce(const char* op, const Value& x, const std::vector<int64_t>& axes, bool keep = true);
Value gather(const Value& x, int64_t axis, const Value& indices);
/// 0 keeps the axis's length.
Value reshape(const Value& x, const std::vector<int64_t>& shape);
Value transpose(const Value& x, const std::vector<int64_t>& axes);
/// The matrix [m][n] (row-major) applied to an axis of n elements of a map of that rank.
Value apply_matrix(const Value& x, int rank, int axis, std::span<const double> matrix, int64_t m, int64_t n);

}  // namespace tidepool::onnx
