// A network as a graph: named nodes of operators with their inputs. A model file builds it once through GraphBuilder;
// its topology is fixed, its sizes are not (DynOPool changes them while it trains). A graph holds no tensors: Network
// does, and passes over the graph run it, trace it, fuse it, export it.
#pragma once
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "core/json.h"
#include "core/tensor.h"
#include "layers/activation.h"
#include "layers/conv.h"
#include "layers/parameter.h"
#include "layers/trace.h"

namespace tidepool {

namespace onnx {
class Graph;
struct Value;
}  // namespace onnx

struct NetworkOptions {
  std::string name = "vgg16";
  double width = 1.0;  ///< scales all channels; a scaled number is rounded and at least 1
  int64_t classes = 100;
  bool conv_bias = false;
  Dims input{1, 3, 32, 32};  ///< N, C, H, W of an image batch; N is ignored
  Device device = {};        ///< of parameters and buffers, and of the images that it is given
  DType dtype = DType::f32;  ///< of activations; parameters are f32, in an f64 network f64
  bool exact_math = false;   ///< convolutions are direct sums, see ConvOptions::exact
  bool fuse = true;          ///< false: every node runs by itself
  uint64_t seed = 1;         ///< of the initial values
  /// Where a filled slot's operator stands: "before" the convolution whose stride it takes, or "after" its activation.
  std::string where = "before";
  std::map<std::string, int64_t> strides = {};  ///< of empty slots, in place of the published ones
  std::string stem = {};                        ///< "imagenet" or "cifar"; empty: "cifar" up to 64 pixels
  std::string head = {};                        ///< empty: the network's first
  std::optional<double> dropout = {};           ///< in place of the network's own
  std::optional<double> stochastic_depth = {};  ///< likewise
};

/// How a forward runs; random draws are functions of (seed, step) alone.
struct ForwardMode {
  bool training = false;
  uint64_t seed = 0;
  uint64_t step = 0;
  bool fuse = true;     ///< false: every node runs by itself, so that its output can be seen
  Tensor counter = {};  ///< of masks: as in MaskDraw
};

/// A node's parameters and buffers, in the order of its operator's specs.
struct NodeTensors {
  std::vector<Tensor> parameters, buffers;
};

struct BufferSpec {
  std::string name;
  Dims shape;
  double value = 0;
};

/// What a node computes. Stateless: tensors travel beside it.
class NodeOperator {
 public:
  virtual ~NodeOperator() = default;
  /// "conv2d", for reports.
  virtual std::string kind() const = 0;
  /// Of inputs of these shapes.
  virtual std::vector<ParameterSpec> parameters(std::span<const Dims> /*x*/) const { return {}; }
  virtual std::vector<BufferSpec> buffers(std::span<const Dims> /*x*/) const { return {}; }
  /// Whether run() in training depends on mode.step where there is a mode.counter.
  virtual bool needs_step() const { return false; }
  /// Recorded on the current tape. `mode.seed` is the node's own.
  virtual Tensor run(std::span<const Tensor> x, const NodeTensors& tensors, const ForwardMode& mode) const = 0;
  /// The map after it; appends the node's row to `trace`, and rows of what multiplies inside it before.
  virtual TracedShape trace(std::span<const TracedShape> x, const NodeTensors& tensors, const std::string& name,
                            Trace& trace) const = 0;
  /// What the node computes in evaluation, of values `x` whose maps have these shapes (of one image), as standard ONNX
  /// operators. Throws Error where it cannot be said by them.
  virtual onnx::Value to_onnx(onnx::Graph& graph, std::span<const onnx::Value> x, std::span<const Dims> shapes,
                              const NodeTensors& tensors) const = 0;
  /// Brings parameters back into their legal range.
  virtual void project(std::span<const Dims> /*x*/, const NodeTensors& /*tensors*/) const {}
};

/// The output of a node; `channels` is fixed when the graph is built.
struct Value {
  int32_t node = -1;
  int64_t channels = 0;
};

struct Node {
  std::string name;  ///< the layer under torchvision's module name, "features.0.0": its parameters' prefix
  std::vector<int32_t> inputs;
  std::unique_ptr<NodeOperator> op;  ///< none for the input
  std::string shape_owner;           ///< whose parameters of kind shape are: the slot's name, else `name`
  std::string origin;                ///< for errors: "model.pool.pool1 (default)", else `name`
};

/// A resize slot: where maps are resized.
struct Slot {
  std::string name;               ///< "pool1", "stage3"
  std::string kind;               ///< "dynopool"; "stride 2" where it is empty
  int32_t node = -1;              ///< the node whose output is the resized map
  std::vector<int32_t> branches;  ///< nodes of the operator that fills it, if any
};

struct Graph {
  std::vector<Node> nodes;  ///< in an order in which they can run; the first is the input
  int32_t output = -1;
  std::vector<Slot> slots;
};

/// A convolution of a graph. Spatial axes are alike.
struct ConvSpec {
  int64_t out = 0, kernel = 3, stride = 1, groups = 1;
  int64_t padding = -1;  ///< negative: (kernel - 1) / 2
  bool bias = false;
  Act act = Act::none;      ///< of conv_norm_act
  std::string slot = {};    ///< the resize slot that may take its stride
  std::string branch = {};  ///< of a slot that serves two: "main", "shortcut"
  std::function<void(const Tensor&, uint64_t seed)> weight_init = {};  ///< unset: He et al. 2015
};

/// Names of a convolution's three layers.
struct ConvNormActNames {
  std::string conv, norm, act;
  /// "features.0" -> "features.0.0", "features.0.1", "features.0.2": torchvision's Conv2dNormActivation.
  static ConvNormActNames indexed(const std::string& prefix) { return {prefix + ".0", prefix + ".1", prefix + ".2"}; }
};

/// Builds a graph node by node. Everything throws Error where an input does not fit.
class GraphBuilder {
 public:
  /// Throws Error where model.pool, model.strides or model.where are not what they must be.
  GraphBuilder(const NetworkOptions& options, const Json& pool);

  const NetworkOptions& options() const { return options_; }
  /// `channels` times the network's width, rounded, at least 1.
  int64_t scaled(int64_t channels) const;
  /// The same to a multiple of 8 that is at least 0.9 of it, as torchvision's _make_divisible.
  int64_t scaled_by_8(int64_t channels) const;

  /// Whether the network's first layers keep the size of small images (model.stem).
  bool cifar_stem();
  /// Whether a network that may have biases in its convolutions has them (model.conv_bias).
  bool conv_bias();
  /// The head that model.head names, one of the network's; the first where it names none.
  std::string head(std::initializer_list<const char*> heads);

  /// The images.
  Value input() const { return {0, options_.input[1]}; }
  Value conv(const std::string& name, Value x, const ConvSpec& spec);
  Value batch_norm(const std::string& name, Value x, double eps = 1e-5, double momentum = 0.1);
  Value activation(const std::string& name, Value x, Act act);
  /// Convolution, batch norm, activation; with spec.slot, a strided convolution whose stride may be taken by a resizing
  /// operator before it (or after its activation, model.where).
  Value conv_norm_act(const ConvNormActNames& names, Value x, const ConvSpec& spec);
  /// A resize slot whose published layer is a pooling operator.
  Value pool_slot(const std::string& slot, Value x, const Json& published);
  /// Mean of each channel: a vector, or with keep_rank a map of one position.
  Value global_avg(const std::string& name, Value x, bool keep_rank = false);
  /// Means over size x size cells of each channel (torch.nn.AdaptiveAvgPool2d), as a vector of channels * size * size.
  Value adaptive_avg(const std::string& name, Value x, int64_t size);
  Value linear(const std::string& name, Value x, int64_t out,
               std::function<void(const Tensor&, uint64_t seed)> weight_init = {});
  /// With the published probability, or model.dropout.
  Value dropout(const std::string& name, Value x, double published);
  /// The published rate of stochastic depth, or model.stochastic_depth.
  double stochastic_depth_rate(double published);
  /// Drops an image's branch with probability p while training (Huang et al. 2016), scaled by 1 / (1 - p).
  Value stochastic_depth(const std::string& name, Value x, double p);
  /// Sum of two maps whose lengths are the same expression of input size, strides and slots.
  Value add(const std::string& name, Value a, Value b);
  /// x times a gate of one number per image and channel, a map of one position (squeeze-excitation).
  Value gate(const std::string& name, Value x, Value s);
  Value concat(const std::string& name, std::span<const Value> inputs);
  /// To a size, one length per spatial axis: bilinear (align_corners false) or nearest.
  Value resize(const std::string& name, Value x, const Dims& size, bool bilinear = true);
  /// To the size of another value, likewise.
  Value resize_like(const std::string& name, Value x, Value like, bool bilinear = true);

  ~GraphBuilder();

  /// The finished graph. Throws Error when the config names a slot that does not exist.
  Graph finish(Value output);

 private:
  // The length of an axis as an expression of the input's: the same number means the same expression.
  enum class Length : int64_t { input, constant, window, slot };
  int32_t length(Length kind, int64_t of, int64_t a = 0, int64_t b = 0);
  const std::vector<int32_t>& lengths(Value x) const { return lengths_[static_cast<size_t>(x.node)]; }
  std::string lengths_text(Value x) const;
  Value add_node(const std::string& name, std::span<const Value> inputs, std::unique_ptr<NodeOperator> op,
                 int64_t channels, std::vector<int32_t> lengths);
  std::vector<int32_t> same_lengths(const std::string& name, std::span<const Value> inputs) const;

  // Whether a config fills a slot that reads x.
  const Json* filling(const std::string& slot, Value x) const;
  Slot& slot_entry(const std::string& slot);
  int64_t empty_stride(const std::string& slot, int64_t published);
  Value pool_node(const std::string& slot, const std::string& branch, Value x, const Json& config, bool filled = true);

  NetworkOptions options_;
  // Which options the network asked for: what it did not may not be set.
  bool has_heads_ = false, has_stems_ = false, has_conv_bias_ = false, has_dropout_ = false, has_depth_ = false;
  std::unique_ptr<Json> pool_;
  Graph graph_;
  std::vector<std::vector<int32_t>> lengths_;
  std::map<std::tuple<int64_t, int64_t, int64_t, int64_t>, int32_t> expressions_;
  std::vector<std::string> expression_text_;
  bool has_strided_slot_ = false;
  std::map<std::pair<std::string, int32_t>, Value> pool_nodes_;  // (slot, what it reads)
};

}  // namespace tidepool
