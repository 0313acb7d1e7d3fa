// A learned tensor and what the optimizer must know of it.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace tidepool {

enum class ParameterKind : uint8_t {
  weight,  ///< decayed
  bias,    ///< not decayed, like all below
  norm,    ///< scale and shift of a normalisation
  shape,   ///< decides a map's size: alpha of dynopool and shape_adaptor
  number,  ///< another number of a pooling operator
};

struct ParameterSpec {
  std::string name;  ///< as in docs/operators.md: "alpha", "weight"
  Dims shape;
  ParameterKind kind = ParameterKind::weight;
  /// Fills a fresh plain f32 or f64 tensor; random initial values are functions of the seed alone.
  std::function<void(const Tensor&, uint64_t seed)> init;
  bool filters = false;  ///< of a convolution: kept in weights_format()
};

/// A parameter of a network under its full name ("pool1.alpha"), f32 (f64 in an f64 network).
struct Parameter {
  std::string name;
  ParameterKind kind = ParameterKind::weight;
  Tensor value;
};

/// A tensor that belongs to the state but is not learned ("features.1.running_mean").
struct Buffer {
  std::string name;
  Tensor value;
};

}  // namespace tidepool
