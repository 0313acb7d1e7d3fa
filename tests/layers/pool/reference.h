// What docs/operators.md says of the resizing operators, in f64 and naive loops, written from its formulas and apart
// from the operators.
#pragma once
#include <functional>
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

using Reference = std::function<Result(const json& config, const Dims& shape, const Values& x,
                                       const std::vector<Values>& parameters, const Values& dy)>;

/// One window as a rule of a windowed operator sees it.
struct SeenWindow {
  const json& config;
  Values x;                                                                   ///< its real elements, in window order
  std::vector<size_t> index;                                                  ///< their positions in the kernel
  int64_t counted = 0;                                                        ///< elements on the map or its padding
  int64_t image = 0, channel = 0, position = 0, channels = 1, positions = 1;  ///< of the output
  bool differentiate = true;

  double n() const { return static_cast<double>(x.size()); }
  double largest() const;  ///< NaN when there is one
  size_t first_largest() const;
  /// x_i - largest(), and their mean.
  Values beyond() const;
  double mean_beyond() const;
  /// What the operators draw for this window in the test's mode: uniform in [0, 1).
  double uniform() const;
};
/// The mode of a case with "training": true.
inline constexpr uint64_t kSeed = 11, kStep = 3;

/// An operator's parameters, whose unit ("per") a window chooses, and their gradients.
class SeenNumbers {
 public:
  SeenNumbers(const std::vector<Values>& values, Result& result) : values_(values), result_(result) {}
  /// Element j of parameter k for this window.
  double operator()(const SeenWindow& w, size_t k, size_t j = 0) const { return values_[k][at(w, k, j)]; }
  /// Adds a term of its gradient.
  void add(const SeenWindow& w, size_t k, size_t j, double term);

 private:
  size_t at(const SeenWindow& w, size_t k, size_t j) const;
  const std::vector<Values>& values_;
  Result& result_;
};

/// y of a window; sets the gradient of each element (dy times d y / d x_i) and adds that of the parameters.
using WindowRule = std::function<double(const SeenWindow& w, SeenNumbers& numbers, double dy, Values& dx)>;
Reference windowed(WindowRule rule);

}  // namespace tidepool::reference
