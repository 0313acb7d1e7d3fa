// The gradients of a run's shape parameters over an epoch: do they point somewhere, or are they only noise?
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "models/network.h"

namespace tidepool {

class ShapeGradients {
 public:
  /// Takes note of what the step's backward gave them, without the cost's part. On a device they are read when the next
  /// step does this, or by read(): nobody waits for them.
  void gather(const Network& network);
  void read();
  void clear() { statistics_.clear(); }
  bool empty() const { return statistics_.empty(); }

  /// By parameter, of each of its elements: mean, its standard error, and their quotient (null where the error is 0).
  Json json() const;
  /// All there is, for a checkpoint; restored by restore(), which throws Json::exception for anything else.
  Json state() const;
  void restore(const Json& state);

 private:
  // Mean and sum of squares about it (Welford 1962), of each element.
  struct Statistics {
    int64_t count = 0;
    std::vector<double> mean, squares;

    void add(const std::vector<double>& gradient);
    Json json() const;
  };

  std::map<std::string, Statistics> statistics_;
  std::vector<std::pair<std::string, Tensor>> waiting_;
};

}  // namespace tidepool
