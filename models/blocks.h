// Blocks that networks are made of: each registers its tensors under a name when the network is built, runs, and
// traces.
#pragma once
#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "layers/conv_norm.h"
#include "models/network.h"

namespace tidepool {

/// Collects a network's tensors and fills its places while the network is built.
class NetworkBuilder {
 public:
  /// Throws Error where `pool` is no object of objects.
  NetworkBuilder(Network& network, const Json& pool);

  const NetworkOptions& options() const { return network_.options_; }
  /// `channels` times the network's width, rounded, at least 1.
  int64_t scaled(int64_t channels) const;
  /// A parameter, started from the network's seed and its name alone: a network's weights do not depend on which
  /// operators stand in its places.
  Tensor parameter(const std::string& name, const ParameterSpec& spec);
  Tensor buffer(const std::string& name, const Dims& shape, double value);
  /// The index of a new resizing place; `x` is the map before it. `places_like_it` is how many places the network has.
  size_t place(const std::string& name, const Dims& x, int places_in_all);
  /// After the last place: throws Error when the config names a place that does not exist.
  void finish() const;
  Network& network() { return network_; }

 private:
  Network& network_;
  Json pool_;
};

/// 2-D convolution; He-normal start (fan-out, gain of ReLU), as torchvision starts its VGG.
class ConvBlock {
 public:
  ConvBlock(NetworkBuilder& b, const std::string& name, int64_t in, int64_t out, int64_t kernel, ConvOptions options,
            bool bias);
  Tensor operator()(const Tensor& x) const;
  TracedShape trace(const TracedShape& x, Trace& trace) const;

 private:
  friend class ConvNormReluBlock;
  std::string name_;
  Tensor weight_, bias_;
  ConvOptions options_;
};

/// Batch norm followed by ReLU, one operator.
class BatchNormReluBlock {
 public:
  BatchNormReluBlock(NetworkBuilder& b, const std::string& name, int64_t channels);
  Tensor operator()(const Tensor& x, const ForwardMode& mode) const;
  TracedShape trace(const TracedShape& x, Trace& trace) const;

 private:
  friend class ConvNormReluBlock;
  std::string name_;
  Tensor weight_, bias_, mean_, variance_;
};

/// Convolution, batch norm and ReLU, as one operator where that is possible.
class ConvNormReluBlock {
 public:
  ConvNormReluBlock(NetworkBuilder& b, const std::string& conv_name, const std::string& norm_name, int64_t in,
                    int64_t out, int64_t kernel, const ConvOptions& options, bool bias)
      : conv_(b, conv_name, in, out, kernel, options, bias), norm_(b, norm_name, out) {}
  NormedMap operator()(const NormedMap& x, const ForwardMode& mode) const;
  TracedShape trace(const TracedShape& x, Trace& trace) const { return norm_.trace(conv_.trace(x, trace), trace); }

 private:
  ConvBlock conv_;
  BatchNormReluBlock norm_;
};

/// Fully connected layer; weights normal(0, 0.01), bias 0, as torchvision starts its VGG.
class LinearBlock {
 public:
  LinearBlock(NetworkBuilder& b, const std::string& name, int64_t in, int64_t out);
  Tensor operator()(const Tensor& x) const;
  TracedShape trace(const TracedShape& x, Trace& trace) const;

 private:
  std::string name_;
  Tensor weight_, bias_;
};

/// A place of the network, as the network's code uses it.
class PlaceBlock {
 public:
  PlaceBlock(NetworkBuilder& b, const std::string& name, const Dims& x, int places_in_all);
  Tensor operator()(const NormedMap& x, const ForwardMode& mode) const;
  TracedShape trace(const TracedShape& x, Trace& trace) const;

 private:
  const ResizingPlace& place() const { return network_->places()[index_]; }
  const Network* network_;
  size_t index_;
};

}  // namespace tidepool
