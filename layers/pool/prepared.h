// An operator made ready outside of a network: keys that make it shrink a map by a factor, and parameters at their
// initial values. What `op`, `ops`, `pool`, `bench ops` and the pooling table have in common.
#pragma once
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/tensor.h"
#include "layers/pool/operator.h"

namespace tidepool {

/// `config` (an object of the operator's keys) with "type", and with what makes every axis `factor` times shorter, told
/// from the keys that the operator has: kernel where its stride follows it, else stride; block; r; ratio, or else
/// output_size for a map of shape `x` (N, C, spatial). A key that stands in `config` stays as it is. An operator
/// without any of these keys keeps its own size.
nlohmann::json config_for_factor(const PoolDescription& op, int64_t factor, const Dims& x,
                                 nlohmann::json config = nlohmann::json::object());

/// A parameter's initial value for an x of that type: f64 with f64, else f32; plain, on the CPU.
Tensor initial_value(const ParameterSpec& spec, DType x, uint64_t seed);
/// Every parameter of the operator for a map of shape `x`, at its initial value.
std::vector<Tensor> initial_values(const PoolOperator& op, const Dims& x, DType dtype, uint64_t seed);

/// Bytes that one forward of `op` in training keeps for its backward when x and every parameter want a gradient,
/// measured on the tape (x itself counts when it is kept; parameters do not).
struct KeptBytes {
  Dims x, y;         ///< shapes of the map that was measured, and of its result
  size_t bytes = 0;  ///< of the whole map
  double per_element() const { return static_cast<double>(bytes) / static_cast<double>(x.product()); }
};
KeptBytes measure_kept_bytes(const PoolOperator& op, const Dims& x, DType dtype);

/// Uniform in [0, 1) by (seed, position); for measurements.
Tensor made_up_map(const Dims& shape, TensorOptions options, uint64_t seed = 0);

}  // namespace tidepool
