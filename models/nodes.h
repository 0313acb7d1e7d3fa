// The operators of a graph's nodes that passes look at.
#pragma once
#include <memory>
#include <string>

#include "layers/norm.h"
#include "layers/pool/operator.h"
#include "models/graph.h"

namespace tidepool {

class ConvNode final : public NodeOperator {
 public:
  explicit ConvNode(const ConvSpec& spec, bool exact);
  std::string kind() const override { return "conv2d"; }
  std::vector<ParameterSpec> parameters(std::span<const Dims> x) const override;
  Tensor run(std::span<const Tensor> x, const NodeTensors& tensors, const ForwardMode& mode) const override;
  TracedShape trace(std::span<const TracedShape> x, const NodeTensors& tensors, const std::string& name,
                    Trace& trace) const override;
  onnx::Value to_onnx(onnx::Graph& graph, std::span<const onnx::Value> x, std::span<const Dims> shapes,
                      const NodeTensors& tensors) const override;
  const ConvOptions& options() const { return options_; }

 private:
  int64_t out_, kernel_;
  bool bias_;
  ConvOptions options_;
  std::function<void(const Tensor&, uint64_t seed)> weight_init_;
};

class BatchNormNode final : public NodeOperator {
 public:
  BatchNormNode(double eps, double momentum) : eps_(eps), momentum_(momentum) {}
  std::string kind() const override { return "batch_norm"; }
  std::vector<ParameterSpec> parameters(std::span<const Dims> x) const override;
  std::vector<BufferSpec> buffers(std::span<const Dims> x) const override;
  Tensor run(std::span<const Tensor> x, const NodeTensors& tensors, const ForwardMode& mode) const override;
  TracedShape trace(std::span<const TracedShape> x, const NodeTensors& tensors, const std::string& name,
                    Trace& trace) const override;
  onnx::Value to_onnx(onnx::Graph& graph, std::span<const onnx::Value> x, std::span<const Dims> shapes,
                      const NodeTensors& tensors) const override;
  BatchNormOptions options(bool training, Act act) const { return {momentum_, eps_, training, act}; }

 private:
  double eps_, momentum_;
};

class ActivationNode final : public NodeOperator {
 public:
  explicit ActivationNode(Act act) : act_(act) {}
  std::string kind() const override { return name_of(act_); }
  Tensor run(std::span<const Tensor> x, const NodeTensors& tensors, const ForwardMode& mode) const override;
  TracedShape trace(std::span<const TracedShape> x, const NodeTensors& tensors, const std::string& name,
                    Trace& trace) const override;
  onnx::Value to_onnx(onnx::Graph& graph, std::span<const onnx::Value> x, std::span<const Dims> shapes,
                      const NodeTensors& tensors) const override;
  Act act() const { return act_; }

 private:
  Act act_;
};

class PoolNode final : public NodeOperator {
 public:
  /// Throws Error as make_pool_operator, and for an operator that does not resize.
  PoolNode(const Json& config, bool exact);
  std::string kind() const override { return kind_; }
  std::vector<ParameterSpec> parameters(std::span<const Dims> x) const override { return op_->parameters(x[0]); }
  Tensor run(std::span<const Tensor> x, const NodeTensors& tensors, const ForwardMode& mode) const override;
  TracedShape trace(std::span<const TracedShape> x, const NodeTensors& tensors, const std::string& name,
                    Trace& trace) const override;
  onnx::Value to_onnx(onnx::Graph& graph, std::span<const onnx::Value> x, std::span<const Dims> shapes,
                      const NodeTensors& tensors) const override;
  void project(std::span<const Dims> x, const NodeTensors& tensors) const override;
  bool needs_step() const override;
  const PoolOperator& op() const { return *op_; }
  PoolMode pool_mode(const ForwardMode& mode) const;

 private:
  std::string kind_;
  Json config_;
  std::unique_ptr<PoolOperator> op_;
  bool exact_;
};

// The others are known by what they do alone.
std::unique_ptr<NodeOperator> linear_node(int64_t out, std::function<void(const Tensor&, uint64_t seed)> weight_init);
std::unique_ptr<NodeOperator> global_avg_node(bool keep_rank);
std::unique_ptr<NodeOperator> flatten_node();
std::unique_ptr<NodeOperator> dropout_node(double p);
std::unique_ptr<NodeOperator> stochastic_depth_node(double p);
std::unique_ptr<NodeOperator> add_node();
std::unique_ptr<NodeOperator> gate_node();
std::unique_ptr<NodeOperator> concat_node();
/// To `size`, or where there is none to that of a second input.
std::unique_ptr<NodeOperator> resize_node(std::optional<Dims> size, bool bilinear);

}  // namespace tidepool
