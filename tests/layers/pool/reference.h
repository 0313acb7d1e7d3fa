// What operators.md says of the resizing operators, in f64 and naive loops, written from its formulas and apart from
// the operators.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace tidepool::reference {

using Values = std::vector<double>;
using json = nlohmann::json;

struct Result {
  Dims shape;  ///< of y
  Values y;
  Values dx;
  std::vector<Values> parameters;  ///< gradients
  std::vector<Values> sizes;       ///< of each such gradient: the root of the sum of its terms' squares
};

/// `config` has "type". Values are row-major (N, C, spatial). An empty dy: y and its shape only.
Result pool(const json& config, const Dims& shape, const Values& x, const std::vector<Values>& parameters,
            const Values& dy);

}  // namespace tidepool::reference
