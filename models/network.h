// A network: a graph with its tensors. Passes run it, trace it and bring its parameters back into their range.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "models/graph.h"

namespace tidepool {

/// One node, or a convolution with the batch norm and activation that follow it, to be run as one operator.
struct ScheduledStep {
  int32_t node = -1;
  int32_t norm = -1, act = -1;    ///< of a fused step; -1: none
  int32_t output = -1;            ///< the node whose value it gives
  std::vector<int32_t> releases;  ///< values that nobody reads after it
};

/// What a pass makes of a graph's nodes, in the order in which they run.
using Schedule = std::vector<ScheduledStep>;

/// Every node by itself.
Schedule plain_schedule(const Graph& graph);
/// Convolution -> batch norm -> activation in one step, where each value has one reader. A candidate: which kernel runs
/// it, if any, is decided by each step's shapes (layers/fused/).
Schedule fused_schedule(const Graph& graph);

/// One element of a parameter of kind shape, and the size that it decides.
struct LearnedSize {
  std::string parameter;  ///< "pool1.alpha"
  Tensor value;           ///< the parameter, all of its elements
  int64_t element = 0;
  std::vector<int> axes;  ///< of the map that follow it, 0 the first spatial one; more than one where axes are tied
  int64_t length = 0;     ///< of that map, on the axis with the steepest slope
  double slope = 0;       ///< d length / d element there, straight through the rounding; 0: it has none

  double at() const { return value.values()[static_cast<size_t>(element)]; }
};

class Network {
 public:
  /// Makes parameters and buffers. Parameters start from the seed and their name alone: a network's weights do not
  /// depend on which operators stand in its slots. Throws Error where a node does not fit its inputs.
  Network(Graph graph, const NetworkOptions& options);
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  /// Logits (N, classes), or a map of them (N, classes, height, width), of images (N, C, H, W) in the network's dtype.
  Tensor forward(const Tensor& x, const ForwardMode& mode) const;
  /// Whether the output is a map of logits: one vector per position and not per image.
  bool gives_map() const;
  /// Shapes, parameters and multiply-adds of every node as the shape parameters stand now.
  Trace trace() const;
  /// Brings every operator's parameters into their bounds: one walk, in which each slot's are projected with the input
  /// that the slots before it give. A learned size is bounded from below by what stands behind it: where its map has
  /// become too small for a node, the size moves to the nearest at which that node fits, the slot before the node first
  /// and each axis by itself; sizes at which every node fits are left as they are. A function of the parameters alone.
  /// To be called after every update and every load, before anything reads them. Throws Error naming a parameter that
  /// is not finite, or the node that no size within the slots' bounds fits.
  void project();
  /// Training takes batches of `images` and more: under project(), a batch norm then fits maps of more than one value
  /// per channel. 0, as at first: nobody trains.
  void set_smallest_batch(int64_t images) { smallest_batch_ = images; }

  const NetworkOptions& options() const { return options_; }
  const Graph& graph() const { return graph_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  const std::vector<Buffer>& buffers() const { return buffers_; }
  const NodeTensors& tensors(int32_t node) const { return tensors_[static_cast<size_t>(node)]; }
  /// Parameters and buffers by name.
  std::vector<std::pair<std::string, Tensor>> state() const;
  /// Every slot with the (height, width) of the map after it, as the shape parameters stand now.
  std::vector<std::pair<std::string, Dims>> slot_shapes() const;
  /// Every element of every shape parameter, in the order in which the maps are computed, as they stand now.
  std::vector<LearnedSize> learned_sizes() const;

 private:
  Tensor parameter(const std::string& name, const ParameterSpec& spec);
  // Throws Error naming both slots where an operator serves its map, but not every larger one, and a parameter of
  // another slot changes the size of that map while it learns.
  void expect_sizes_may_change() const;
  // What project() wants of a shape parameter, before it is brought into its bounds.
  struct WantedSize {
    Tensor parameter;
    std::vector<double> values;
  };
  // Where a walk ended: the node that does not fit its input, and the shapes of those before it.
  struct Misfit {
    size_t node = 0;
    std::vector<TracedShape> shapes;
    Error error;
  };
  // Projects all parameters, the shapes from what is wanted of them.
  std::optional<Misfit> project(std::span<const WantedSize> wanted);
  // Enlarges wanted sizes until the misfit's node fits, the last slot's first and no further than that takes. False
  // where their bounds end before.
  bool fit(std::span<WantedSize> wanted, const Misfit& misfit);
  // "pool1.alpha, pool2.alpha": the parameters that decide the lengths of x; "" when they are fixed.
  std::string learned_by(const TracedShape& x) const;
  // Calls each(node, its inputs) and traces the node, in order; shapes of all nodes. Errors name the layer, or with
  // `config` the key that put it there.
  template <class Each>
  std::vector<TracedShape> walk(Trace& trace, const Each& each, bool config = false) const;
  // The same with the shapes of the nodes before one that throws.
  template <class Each>
  void walk(std::vector<TracedShape>& shapes, Trace& trace, const Each& each, bool config = false) const;

  Graph graph_;
  NetworkOptions options_;
  std::vector<Parameter> parameters_;
  std::vector<Buffer> buffers_;
  std::vector<NodeTensors> tensors_;
  std::vector<int32_t> readers_;  // of every value
  int64_t smallest_batch_ = 0;
  Schedule plain_, fused_;
};

/// A network by its name. `pool` maps slot names to operators, {"default": {"type": "dynopool"}, "pool3": {...}}.
/// Throws Error for an unknown network, slot, operator or key, with the nearest right name.
std::unique_ptr<Network> make_network(const NetworkOptions& options, const Json& pool);
std::vector<std::string> network_names();

}  // namespace tidepool
