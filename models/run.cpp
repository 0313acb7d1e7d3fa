// The pass that runs a graph: node by node in the schedule's order, on the current tape.
#include "core/tape.h"
#include "layers/fused/conv_norm.h"
#include "layers/fused/pool.h"
#include "models/name_seed.h"
#include "models/network.h"
#include "models/nodes.h"

namespace tidepool {
namespace {

// Values of one run. One with a single reader may stay unwritten behind its norm.
class Values {
 public:
  Values(const std::vector<int32_t>& readers) : readers_(readers), values_(readers.size()) {}

  void set(int32_t v, const NormedMap& value) { at(v) = value; }
  void release(int32_t v) { at(v) = {}; }
  const Tensor& tensor(int32_t v) {
    at(v) = at(v).tensor();
    return at(v).raw();
  }
  NormedMap map(int32_t v) {
    if (readers_[static_cast<size_t>(v)] > 1) tensor(v);
    return at(v);
  }

 private:
  NormedMap& at(int32_t v) { return values_[static_cast<size_t>(v)]; }
  const std::vector<int32_t>& readers_;
  std::vector<NormedMap> values_;
};

// work() in the scope of a layer, which its errors name.
template <class Work>
auto in_layer(const std::string& name, const Work& work) {
  const LayerScope scope(name);
  try {
    return work();
  } catch (const Error& e) {
    throw Error("{}: {}", name, e.what());
  }
}

}  // namespace

Tensor Network::forward(const Tensor& x, const ForwardMode& mode) const {
  const auto node_of = [&](int32_t i) -> const Node& { return graph_.nodes[static_cast<size_t>(i)]; };
  Values values(readers_);
  values.set(0, x);

  const auto run_one = [&](int32_t i) {
    const Node& node = node_of(i);
    ForwardMode own = mode;
    own.seed ^= name_seed(node.name);
    return in_layer(node.name, [&] {
      if (const auto* pool = dynamic_cast<const PoolNode*>(node.op.get()))
        return pool_forward(pool->op(), values.map(node.inputs[0]), tensors(i).parameters, pool->pool_mode(own));
      std::vector<Tensor> inputs;
      for (const int32_t v : node.inputs) inputs.push_back(values.tensor(v));
      return node.op->run(inputs, tensors(i), own);
    });
  };
  // Convolution, norm and activation as one operator where layers/fused/ serves the shapes.
  const auto run_conv_norm = [&](const ScheduledStep& step) -> NormedMap {
    const auto& conv = static_cast<const ConvNode&>(*node_of(step.node).op);
    const auto& norm = static_cast<const BatchNormNode&>(*node_of(step.norm).op);
    const Act act = step.act < 0 ? Act::none : static_cast<const ActivationNode&>(*node_of(step.act).op).act();
    const NodeTensors &c = tensors(step.node), &n = tensors(step.norm);
    const ConvNorm all{c.parameters[0], c.parameters.size() > 1 ? c.parameters[1] : Tensor{},
                       n.parameters[0], n.parameters[1],
                       n.buffers[0],    n.buffers[1]};
    const NormedMap in = values.map(node_of(step.node).inputs[0]);
    const BatchNormOptions options = norm.options(mode.training, act);
    if (conv_norm_serves(in, all))
      return in_layer(node_of(step.node).name, [&] { return conv_norm(in, all, conv.options(), options); });
    const Tensor y = run_one(step.node);
    return in_layer(node_of(step.norm).name,
                    [&] { return batch_norm(y, all.gamma, all.beta, all.running_mean, all.running_var, options); });
  };

  for (const ScheduledStep& step : mode.fuse&& options_.fuse ? fused_ : plain_) {
    values.set(step.output, step.norm < 0 ? NormedMap(run_one(step.node)) : run_conv_norm(step));
    for (const int32_t v : step.releases) values.release(v);
  }
  return values.tensor(graph_.output);
}

}  // namespace tidepool
