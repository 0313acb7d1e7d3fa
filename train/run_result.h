// What a run comes to: result.json, and the keys of its metrics, which the checkpoint and the log share.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "core/tensor.h"
#include "train/task.h"

namespace tidepool {

/// Before the keys of what is of the validation part.
inline const std::string kValidationPrefix = "val_";

/// Values of metrics by name, in the task's order.
using MetricValues = std::vector<std::pair<std::string, double>>;
std::optional<double> value_of(const MetricValues& values, const std::string& metric);

/// "<metric>_last" of the primary metric and its "<metric>_best", then "<metric>_last" of the other metrics; `prefix`
/// before each key, null for a value that is not there.
Json metrics_json(const Metric& primary, const MetricValues& last, const std::optional<double>& best,
                  const std::string& prefix = "");
/// The values that `json` has under "<prefix><metric>_last".
MetricValues last_values(const Json& json, const TaskDescription& task, const std::string& prefix = "");

/// Null for none.
template <class T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}
/// None where `key` is absent or no number.
std::optional<double> optional_number(const Json& json, const std::string& key);

/// Slot -> lengths of the map after it.
Json shapes_json(const std::vector<std::pair<std::string, Dims>>& shapes);

/// What result.json holds: keys "<metric>_last" of every metric and "<metric>_best" of the primary one, of the test
/// images; with a validation part "val_<metric>_last" and "val_<metric>_best" of the primary one too.
struct RunResult {
  bool finished = false;              ///< false: stopped by RunOptions::stop; nothing below is of use then but `steps`
  Metric metric = {"top1", "top-1"};  ///< the task's primary one
  MetricValues last;                  ///< of the test images; empty when nothing was evaluated
  std::optional<double> best;         ///< `metric` with the weights chosen on the validation part; none without it
  std::optional<double> loss_last;    ///< the task's loss with the last weights
  std::optional<double> validation_last, validation_best;  ///< `metric` of the validation part
  double gmacs = 0;                                        ///< of the final shapes, multiply-adds of one image / 1e9
  std::optional<double> gmacs_target;                      ///< the budget, in 1e9; none without one
  int64_t parameters = 0, steps = 0;
  double seconds = 0;            ///< of training steps, over all resumptions
  double images_per_second = 0;  ///< training images over those seconds
  size_t peak_bytes = 0;
  std::vector<std::pair<std::string, Dims>> shapes;  ///< slot -> (height, width) of the map after it

  /// `metric` with the last weights.
  std::optional<double> metric_last() const;

  Json json() const;
  /// Of a run of that task.
  static RunResult from_json(const Json& json, const TaskDescription& task);
};

}  // namespace tidepool
