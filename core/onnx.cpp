#include "core/onnx.h"

#include <bit>

#include "core/atomic_file.h"
#include "core/error.h"
#include "core/protobuf.h"
#include "core/version.h"

namespace tidepool::onnx {
namespace {

using protobuf::bytes, protobuf::bytes_header, protobuf::f32, protobuf::whole;

// Numbers of the fields, as github.com/onnx/onnx, onnx/onnx.proto has them.
namespace model {
constexpr int kIrVersion = 1, kProducer = 2, kProducerVersion = 3, kGraph = 7, kOpset = 8, kMetadata = 14;
constexpr int kOpsetVersion = 2, kMetadataKey = 1, kMetadataValue = 2;
}  // namespace model
namespace graph {
constexpr int kNode = 1, kName = 2, kConstant = 5, kInput = 11, kOutput = 12;
}
namespace node {
constexpr int kInput = 1, kOutput = 2, kName = 3, kOperator = 4, kAttribute = 5;
}
namespace attribute {
constexpr int kName = 1, kFloat = 2, kInt = 3, kString = 4, kInts = 8, kType = 20;
enum Type { kOfFloat = 1, kOfInt = 2, kOfString = 3, kOfInts = 7 };
}  // namespace attribute
namespace tensor {
constexpr int kDims = 1, kType = 2, kName = 8, kRaw = 9;
enum Type { kFloat = 1, kInt64 = 7, kBool = 9 };
}  // namespace tensor
namespace value_info {
constexpr int kName = 1, kType = 2, kTensor = 1, kElement = 1, kShape = 2, kDim = 1, kLength = 1, kAnyLength = 2;
}

std::string described(const std::string& name, const Dims& shape) {
  std::string dims;
  for (int i = 0; i < shape.rank(); ++i)
    dims +=
        bytes(value_info::kDim, i == 0 ? bytes(value_info::kAnyLength, "batch") : whole(value_info::kLength, shape[i]));
  const std::string tensor = whole(value_info::kElement, tensor::kFloat) + bytes(value_info::kShape, dims);
  return bytes(value_info::kName, name) + bytes(value_info::kType, bytes(value_info::kTensor, tensor));
}

std::string encoded(const std::string& name, const Attribute& a) {
  std::string out = bytes(attribute::kName, name);
  if (const auto* i = std::get_if<int64_t>(&a)) {
    out += whole(attribute::kInt, *i) + whole(attribute::kType, attribute::kOfInt);
  } else if (const auto* f = std::get_if<double>(&a)) {
    out += f32(attribute::kFloat, *f) + whole(attribute::kType, attribute::kOfFloat);
  } else if (const auto* s = std::get_if<std::string>(&a)) {
    out += bytes(attribute::kString, *s) + whole(attribute::kType, attribute::kOfString);
  } else {
    for (const int64_t one : std::get<std::vector<int64_t>>(a)) out += whole(attribute::kInts, one);
    out += whole(attribute::kType, attribute::kOfInts);
  }
  return out;
}

template <class Number>
std::string raw(std::span<const Number> values) {
  std::string bytes;
  for (const Number v : values) bytes += protobuf::little_endian(v);
  return bytes;
}

Value unary(const char* op, const Value& x) {
  return x.graph->node(op, {x});
}
Value binary(const char* op, const Value& a, const Value& b) {
  return a.graph->node(op, {a, b});
}

}  // namespace

uint64_t Graph::Constant::size() const {
  return header.size() + (tensor ? static_cast<uint64_t>(tensor.numel()) * sizeof(float) : bytes.size());
}

std::string Graph::new_name(const std::string& wanted) {
  const std::string name = scope_.empty() ? wanted : scope_ + "/" + wanted;
  const int before = names_[name]++;
  return before == 0 ? name : fmt::format("{}_{}", name, before);
}

Value Graph::input(const std::string& name, const Dims& shape) {
  inputs_.push_back(described(name, shape));
  return {this, name};
}

void Graph::output(const Value& value, const std::string& name, const Dims& shape) {
  nodes_.push_back(bytes(node::kInput, value.name) + bytes(node::kOutput, name) + bytes(node::kName, name) +
                   bytes(node::kOperator, "Identity"));
  outputs_.push_back(described(name, shape));
}

Value Graph::constant(std::string_view name, int type, const std::vector<int64_t>& shape, std::string elements,
                      Tensor tensor) {
  Constant c{.header = {}, .bytes = std::move(elements), .tensor = std::move(tensor)};
  const uint64_t count = c.size();
  for (const int64_t length : shape) c.header += whole(tensor::kDims, length);
  c.header += whole(tensor::kType, type) + bytes(tensor::kName, name) + bytes_header(tensor::kRaw, count);
  constants_.push_back(std::move(c));
  return {this, std::string(name)};
}

Value Graph::constant(const Tensor& t, const std::string& name) {
  const std::string full = scope_.empty() ? name : scope_ + "." + name;
  return constant(full, tensor::kFloat, std::vector<int64_t>(t.shape().begin(), t.shape().end()), {},
                  t.to(kCpu).to(DType::f32).contiguous(MemoryFormat::plain));
}

Value Graph::number(double value) {
  const auto narrow = static_cast<float>(value);
  std::string& known = scalars_[std::bit_cast<uint32_t>(narrow)];
  if (!known.empty()) return {this, known};
  known = fmt::format("{}", narrow);
  return constant(known, tensor::kFloat, {}, protobuf::little_endian(narrow), {});
}

Value Graph::numbers(std::span<const double> values, std::vector<int64_t> shape) {
  const std::vector<float> narrow(values.begin(), values.end());
  return constant(new_name("numbers"), tensor::kFloat, shape, raw<float>(narrow), {});
}
Value Graph::integers(const std::vector<int64_t>& values, std::vector<int64_t> shape) {
  return constant(new_name("integers"), tensor::kInt64, shape, raw<int64_t>(values), {});
}
Value Graph::booleans(const std::vector<bool>& values, std::vector<int64_t> shape) {
  std::string elements;
  for (const bool v : values) elements += static_cast<char>(v);
  return constant(new_name("booleans"), tensor::kBool, shape, std::move(elements), {});
}

Value Graph::node(const char* op, const std::vector<Value>& inputs, const Attributes& attributes, int outputs) {
  const std::string name = new_name(op);
  std::string message;
  for (const Value& x : inputs) message += bytes(node::kInput, x.name);
  for (int i = 0; i < outputs; ++i) message += bytes(node::kOutput, i == 0 ? name : fmt::format("{}:{}", name, i));
  message += bytes(node::kName, name) + bytes(node::kOperator, op);
  for (const auto& [key, value] : attributes) message += bytes(node::kAttribute, encoded(key, value));
  nodes_.push_back(std::move(message));
  operators_.insert(op);
  return {this, name};
}

void Graph::write(const std::filesystem::path& path) const {
  std::string head;
  for (const std::string& n : nodes_) head += bytes(graph::kNode, n);
  head += bytes(graph::kName, "tidepool");
  for (const std::string& i : inputs_) head += bytes(graph::kInput, i);
  for (const std::string& o : outputs_) head += bytes(graph::kOutput, o);
  uint64_t size = head.size();
  for (const Constant& c : constants_) size += bytes_header(graph::kConstant, c.size()).size() + c.size();
  if (size >= uint64_t{1} << 31)
    throw Error("{}: an ONNX file of {} bytes: expected less than 2 GiB", path.string(), size);

  std::string file = whole(model::kIrVersion, kIrVersion) + bytes(model::kProducer, "tidepool") +
                     bytes(model::kProducerVersion, kVersion) +
                     bytes(model::kOpset, whole(model::kOpsetVersion, kOpset));
  for (const auto& [key, value] : metadata_)
    file += bytes(model::kMetadata, bytes(model::kMetadataKey, key) + bytes(model::kMetadataValue, value));
  file += bytes_header(model::kGraph, size) + head;
  AtomicFile out(path);
  out.write(file);
  for (const Constant& c : constants_) {
    out.write(bytes_header(graph::kConstant, c.size()) + c.header);
    if (c.tensor)
      out.write(c.tensor.raw(), static_cast<size_t>(c.tensor.numel()) * sizeof(float));
    else
      out.write(c.bytes);
  }
  out.commit();
}

Value operator+(const Value& a, const Value& b) {
  return binary("Add", a, b);
}
Value operator-(const Value& a, const Value& b) {
  return binary("Sub", a, b);
}
Value operator*(const Value& a, const Value& b) {
  return binary("Mul", a, b);
}
Value operator/(const Value& a, const Value& b) {
  return binary("Div", a, b);
}
Value operator+(const Value& a, double b) {
  return a + a.graph->number(b);
}
Value operator-(const Value& a, double b) {
  return a - a.graph->number(b);
}
Value operator*(const Value& a, double b) {
  return a * a.graph->number(b);
}
Value operator/(const Value& a, double b) {
  return a / a.graph->number(b);
}
Value operator-(double a, const Value& b) {
  return b.graph->number(a) - b;
}
Value abs(const Value& x) {
  return unary("Abs", x);
}
Value exp(const Value& x) {
  return unary("Exp", x);
}
Value log(const Value& x) {
  return unary("Log", x);
}
Value relu(const Value& x) {
  return unary("Relu", x);
}
Value sigmoid(const Value& x) {
  return unary("Sigmoid", x);
}
Value sqrt(const Value& x) {
  return unary("Sqrt", x);
}
Value pow(const Value& x, const Value& exponent) {
  return binary("Pow", x, exponent);
}
Value larger(const Value& a, const Value& b) {
  return binary("Max", a, b);
}
Value larger(const Value& a, double b) {
  return larger(a, a.graph->number(b));
}
Value where(const Value& condition, const Value& a, const Value& b) {
  return a.graph->node("Where", {condition, a, b});
}

Value expm1(const Value& x) {
  const Value one = x.graph->number(1), u = larger(x, -40.0), e = exp(u);  // -1 from there on; e keeps its digits
  return where(binary("Equal", e, one), u, (e - one) * u / log(e));
}
Value log1p(const Value& x) {
  const Value one = x.graph->number(1), w = x + one;
  return where(binary("Equal", w, one), x, log(w) * x / (w - one));
}

Value reduce(const char* op, const Value& x, const std::vector<int64_t>& axes, bool keep) {
  return x.graph->node(op, {x, x.graph->integers(axes)}, {{"keepdims", int64_t{keep}}});
}
Value gather(const Value& x, int64_t axis, const Value& indices) {
  return x.graph->node("Gather", {x, indices}, {{"axis", axis}});
}
Value reshape(const Value& x, const std::vector<int64_t>& shape) {
  return x.graph->node("Reshape", {x, x.graph->integers(shape)});
}
Value transpose(const Value& x, const std::vector<int64_t>& axes) {
  return x.graph->node("Transpose", {x}, {{"perm", axes}});
}

Value apply_matrix(const Value& x, int rank, int axis, std::span<const double> matrix, int64_t m, int64_t n) {
  if (axis == rank - 2) return binary("MatMul", x.graph->numbers(matrix, {m, n}), x);
  std::vector<double> turned;
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < m; ++i) turned.push_back(matrix[static_cast<size_t>(i * n + j)]);
  const Value by = x.graph->numbers(turned, {n, m});
  if (axis == rank - 1) return binary("MatMul", x, by);
  std::vector<int64_t> swapped;
  for (int i = 0; i < rank; ++i) swapped.push_back(i == axis ? rank - 1 : i == rank - 1 ? axis : i);
  return transpose(binary("MatMul", transpose(x, swapped), by), swapped);
}

}  // namespace tidepool::onnx
