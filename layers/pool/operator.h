// A resizing (pooling) operator: what every one of them offers, and the registry that knows them by name. What each
// computes: docs/operators.md.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/keys.h"
#include "core/tensor.h"
#include "layers/parameter.h"
#include "layers/trace.h"

namespace tidepool {

/// How a forward runs. Random draws are a function of (seed, step, position) alone.
struct PoolMode {
  bool training = false;
  uint64_t seed = 0;
  uint64_t step = 0;
  bool exact = false;  ///< convolutions of the operator's own are direct sums, see ConvOptions::exact
};

/// A configured operator. It outlives every tape on which it recorded. Stateless: parameters travel beside it, in the
/// order of parameters(), in x's dtype or in f32 (f64 with an f64 x); their gradients have their dtype.
class PoolOperator {
 public:
  virtual ~PoolOperator() = default;

  /// Which parameters it has for an input of that shape (N, C, spatial). Throws Error for a rank that it does not
  /// serve.
  virtual std::vector<ParameterSpec> parameters(const Dims& x) const;
  /// Optional inputs behind the parameters, all of them or none: tensors that replace random draws
  /// (fractional_max's `u`). Nobody learns them, and they have no gradient. `init` is not used.
  virtual std::vector<ParameterSpec> optional_inputs(const Dims& x) const;
  /// Checks everything at the door. Throws Error: "[soft] kernel 3 does not fit an input of length 2 (padding 0)".
  virtual Dims output_shape(const Dims& x, std::span<const Tensor> parameters) const = 0;
  /// y in x's dtype and memory format; recorded on the current tape. Throws Error as output_shape does.
  Tensor forward(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& mode) const;
  /// Brings parameters back into their legal range after an optimizer step.
  virtual void project(std::span<const Tensor> parameters, const Dims& x) const;
  /// The map after it with straight-through lengths; appends a row to `trace` when it multiplies (conv). The default
  /// gives each axis the slope (output length) / (input length) and no slope in parameters.
  virtual TracedShape trace(const TracedShape& x, std::span<const Tensor> parameters, const std::string& name,
                            Trace& trace) const;

 protected:
  /// What `forward` promises.
  virtual Tensor run(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& mode) const = 0;
  /// Whether vectors of channels are so much faster than the walk over plain memory that a plain map of enough
  /// channels takes the detour: to channels-last, `run`, and back. May throw what output_shape throws.
  virtual bool by_channels(const Dims& x, std::span<const Tensor> parameters) const;
  /// Whether numbers on the way from x to y may leave f32's range though y does not. Then maps of f32 and bf16 whose
  /// largest magnitude is beyond 2^100, or under 2^-100, are computed in f64 and rounded.
  virtual bool wants_room(const Dims& x, std::span<const Tensor> parameters) const;
  /// `forward` of an f32 or bf16 map in f64, rounded: for an operator that sees for itself that it left f32's range.
  Tensor forward_in_f64(const Tensor& x, std::span<const Tensor> parameters, const PoolMode& mode) const;
  /// Whether the largest magnitude of an f32 or bf16 map on the CPU is finite, and near an end of their range.
  static bool near_the_ends(const Tensor& x);
};

/// What `tidepool ops` prints, and how an operator is made.
struct PoolDescription {
  std::string name;        ///< "soft"
  std::vector<int> ranks;  ///< spatial ranks: 1, 2, 3
  std::vector<Key> keys = {};
  std::vector<std::string> parameters;  ///< names of the tensors it may have
  std::string formula, gradient, source;
  std::string notes = {};  ///< where it differs from the published code, and why; may be empty
  std::string keeps;       ///< what a forward keeps for its backward: "x", "the winner's index, 1 byte per output"
  bool resizes = true;     ///< gives a map, and may stand in a network's resize slot
  /// From the config's object ("type" may be there). Throws Error for an unknown key (with the nearest right name), a
  /// wrong type or a value out of range.
  std::function<std::unique_ptr<PoolOperator>(const nlohmann::json& config)> make = {};
};

/// All operators by name, sorted.
std::vector<const PoolDescription*> pool_operators();
/// Throws Error with the nearest right name.
const PoolDescription& find_pool_operator(const std::string& name);
/// From {"type": "soft", ...}.
std::unique_ptr<PoolOperator> make_pool_operator(const nlohmann::json& config);

}  // namespace tidepool
