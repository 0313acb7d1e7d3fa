// A network: blocks of layers with named parameters, and places that a config fills with resizing operators.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/tensor.h"
#include "layers/parameter.h"
#include "layers/pool/operator.h"
#include "layers/trace.h"

namespace tidepool {

struct NetworkOptions {
  std::string name = "vgg16";
  double width = 1.0;  ///< scales all channels; a scaled number is rounded and at least 1
  int64_t classes = 100;
  bool conv_bias = false;
  Dims input{1, 3, 32, 32};  ///< N, C, H, W of an image batch; N is of no account
  DType dtype = DType::f32;  ///< of activations; parameters are f32, in an f64 network f64
  bool exact_math = false;   ///< convolutions are direct sums, see ConvOptions::exact
  uint64_t seed = 1;         ///< of the initial values
};

/// How a forward runs; random draws are functions of (seed, step) alone.
struct ForwardMode {
  bool training = false;
  uint64_t seed = 0;
  uint64_t step = 0;
};

/// A place where maps are resized, and what stands there.
struct ResizingPlace {
  std::string name;  ///< "pool1"
  std::string kind;  ///< "dynopool"
  std::unique_ptr<PoolOperator> op;
  std::vector<Tensor> parameters;
};

class Network {
 public:
  virtual ~Network() = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  /// Logits (N, classes) of images (N, C, H, W) in the network's dtype.
  virtual Tensor forward(const Tensor& x, const ForwardMode& mode) = 0;
  /// Shapes, parameters and multiply-adds of every layer as the shape parameters stand now.
  Trace trace() const;
  /// Brings the parameters of every resizing operator into their bounds, one slot after the other, each with the input
  /// that the slots before it give: to be called after every update and every load, before anything reads them. Throws
  /// Error naming a parameter that is not finite, or the slot whose operator the map before it does not fit.
  void project();
  /// Throws Error naming both slots where an operator serves its map, but not every larger one, and a parameter of
  /// another slot changes the size of that map while it learns.
  void expect_sizes_may_change() const;
  /// "pool1.alpha, pool2.alpha": the parameters that decide the lengths of x; "" when they are fixed.
  std::string learned_by(const TracedShape& x) const;

  const NetworkOptions& options() const { return options_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  const std::vector<Buffer>& buffers() const { return buffers_; }
  const std::vector<ResizingPlace>& places() const { return places_; }
  /// Parameters and buffers by name.
  std::vector<std::pair<std::string, Tensor>> state() const;
  /// Every place with the (height, width) of the map after it, as the shape parameters stand now.
  std::vector<std::pair<std::string, Dims>> place_shapes() const;

 protected:
  explicit Network(NetworkOptions options) : options_(std::move(options)) {}
  virtual TracedShape trace_layers(TracedShape x, Trace& trace) const = 0;

  friend class NetworkBuilder;
  void walk(Trace& trace) const;
  const ResizingPlace& place_named(const std::string& name) const;

  NetworkOptions options_;
  std::vector<Parameter> parameters_;
  std::vector<Buffer> buffers_;
  std::vector<ResizingPlace> places_;
};

/// A network by its name. `pool` maps place names to operators, {"default": {"type": "dynopool"}, "pool3": {...}}.
/// Throws Error for an unknown network, place, operator or key, with the nearest right name.
std::unique_ptr<Network> make_network(const NetworkOptions& options, const Json& pool);
std::vector<std::string> network_names();

}  // namespace tidepool
