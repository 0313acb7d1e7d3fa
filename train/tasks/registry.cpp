#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "train/task.h"

namespace tidepool {

// The list is a table and not a matter of static constructors, which a linker may leave out of a static library.
const TaskDescription& task_classification();

const std::vector<const TaskDescription*>& tasks() {
  static const std::vector<const TaskDescription*> kTasks{&task_classification()};
  return kTasks;
}

const TaskDescription& find_task(const std::string& name) {
  std::vector<std::string> names;
  for (const TaskDescription* each : tasks()) {
    if (each->name == name) return *each;
    names.push_back(each->name);
  }
  throw Error("there is no task '{}'{}; there are {}", name, did_you_mean(name, names), fmt::join(names, ", "));
}

std::unique_ptr<Task> make_task(const Config& config, const Network& network) {
  return find_task(config.task)
      .make({.classes = network.options().classes, .label_smoothing = config.loss.label_smoothing});
}

std::string MetricValue::text() const {
  return fmt::format("{} {:.2f}%", metric.label, 100 * value);
}

}  // namespace tidepool
