// The table of the battery: what an operator is tried with. A new operator adds its row here and a reference.
#pragma once
#include <string>
#include <vector>

#include "core/tensor.h"

namespace tidepool::testing {

/// large: +-1e4 alone; wide: normals times 1e4 (sums of +-1e4 tie in ways that depend on the rounding).
enum class Data : uint8_t { normal, ties, equal, zero, large, wide };

struct PoolCase {
  const char* config;  ///< JSON, without "type"
  Dims shape;          ///< of x
  Data data = Data::normal;
  std::vector<std::vector<double>> parameters = {};  ///< none: the starts (of a convolution: random)
};

struct PoolRow {
  const char* name;
  std::vector<PoolCase> cases;
  bool differences = true;  ///< the parameters' gradients are derivatives of the value (not dynopool's alpha)
  bool nan = true;          ///< NaN in, NaN out, as the reference has it
};

/// All rows; those of cases_maps.cpp at the end.
const std::vector<PoolRow>& pool_rows();
std::vector<PoolRow> map_rows();

}  // namespace tidepool::testing
