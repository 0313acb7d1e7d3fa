#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/find_named.h"
#include "train/setup.h"
#include "train/task.h"

namespace tidepool {

// The list is a table and not a matter of static constructors, which a linker may leave out of a static library.
const TaskDescription& task_classification();
const TaskDescription& task_segmentation();

const std::vector<const TaskDescription*>& tasks() {
  static const std::vector<const TaskDescription*> kTasks{&task_classification(), &task_segmentation()};
  return kTasks;
}

const TaskDescription& find_task(const std::string& name) {
  return find_named(tasks(), name, "there is no task");
}

std::unique_ptr<Task> make_task(const Config& config, const Network& network) {
  const TaskDescription& task = find_task(config.task);
  const bool pixels = task.of_pixels;
  const auto labels = [](bool of_pixels) { return of_pixels ? "for every pixel" : "for every image"; };
  if (const bool has = dataset_format(config.data.name, dataset_options(config.data)).label_maps; has != pixels)
    throw Error("task {} and data set {} do not fit: the task needs a label {}, the data set has one {}", task.name,
                config.data.name, labels(pixels), labels(has));
  if (network.gives_map() != pixels)
    throw Error(
        "task {} and network {} do not fit: the task needs {}, the network gives {} (model.head may change that)",
        task.name, config.model.name, pixels ? "a map of logits" : "one vector of logits per image",
        pixels ? "one vector per image" : "a map");
  return task.make({.classes = network.options().classes, .label_smoothing = config.loss.label_smoothing});
}

std::string MetricValue::text() const {
  return fmt::format("{} {:.2f}%", metric.label, 100 * value);
}

}  // namespace tidepool
