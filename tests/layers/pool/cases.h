// The table of the battery: what an operator is tried with. A new operator adds its row here and a reference.
#pragma once
#include <ostream>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "tests/layers/pool/reference.h"

namespace tidepool::testing {

/// large: +-1e4 alone; wide: normals times 1e4 (sums of +-1e4 tie in ways that depend on the rounding).
enum class Data : uint8_t { normal, ties, equal, zero, large, wide };

struct PoolCase {
  const char* config;  ///< JSON, without "type"; "training": true runs it as in training
  Dims shape;          ///< of x
  Data data = Data::normal;
  std::vector<std::vector<double>> parameters = {};  ///< none: the starts (of a convolution: random)
  double vary = 0;                                   ///< normals times this are added to the starts
};

/// A request that `tidepool op` must refuse, on an x of 1x2x4x4; each word stands in the message.
struct BadRequest {
  const char* config;
  std::vector<std::string> words;
  std::string tensor = {};  ///< one more tensor in the file, of rank 1
  std::vector<double> values = {};
};

struct PoolRow {
  const char* name;
  std::vector<PoolCase> cases;
  bool differences = true;  ///< the parameters' gradients are derivatives of the value (not dynopool's alpha)
  bool nan = true;          ///< NaN in, NaN out, as the reference has it
  reference::Reference reference = {};  ///< none: reference::pool
  bool window = false;                  ///< has the keys of a window, and is refused what no window can be
  std::vector<BadRequest> bad = {};
};
inline void PrintTo(const PoolRow& row, std::ostream* out) {
  *out << row.name;
}  // GoogleTest's own prints bytes

/// All rows.
const std::vector<PoolRow>& pool_rows();
/// Those of the windowed operators (window_rows.cpp).
std::vector<PoolRow> window_rows();
/// Kernels, strides, paddings, ranks, odd sizes and data that every windowed operator is tried with, then `own`.
std::vector<PoolCase> windows(std::vector<PoolCase> own);
/// Those of the others (cases_maps.cpp).
std::vector<PoolRow> map_rows();

}  // namespace tidepool::testing
