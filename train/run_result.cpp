#include "train/run_result.h"

namespace tidepool {

std::optional<double> optional_number(const Json& json, const std::string& key) {
  return json.contains(key) && json.at(key).is_number() ? std::optional(json.at(key).get<double>()) : std::nullopt;
}

std::optional<double> value_of(const MetricValues& values, const std::string& metric) {
  for (const auto& [name, value] : values)
    if (name == metric) return value;
  return std::nullopt;
}

MetricValues last_values(const Json& json, const TaskDescription& task, const std::string& prefix) {
  MetricValues values;
  for (const Metric& metric : task.metrics)
    if (const auto value = optional_number(json, prefix + metric.name + "_last"))
      values.emplace_back(metric.name, *value);
  return values;
}

Json metrics_json(const Metric& primary, const MetricValues& last, const std::optional<double>& best,
                  const std::string& prefix) {
  Json json{{prefix + primary.name + "_last", optional_json(value_of(last, primary.name))},
            {prefix + primary.name + "_best", optional_json(best)}};
  for (const auto& [name, value] : last) json[prefix + name + "_last"] = value;
  return json;
}

Json shapes_json(const std::vector<std::pair<std::string, Dims>>& shapes) {
  Json json = Json::object();
  for (const auto& [slot, size] : shapes) json[slot] = std::vector<int64_t>(size.begin(), size.end());
  return json;
}

std::optional<double> RunResult::metric_last() const {
  return value_of(last, metric.name);
}

Json RunResult::json() const {
  Json json = metrics_json(metric, last, best);
  if (validation_last) {
    json[kValidationPrefix + metric.name + "_last"] = *validation_last;
    json[kValidationPrefix + metric.name + "_best"] = optional_json(validation_best);
  }
  json.update(Json{{"loss_last", optional_json(loss_last)},
                   {"gmacs", gmacs},
                   {"gmacs_target", optional_json(gmacs_target)},
                   {"parameters", parameters},
                   {"steps", steps},
                   {"seconds", seconds},
                   {"images_per_second", images_per_second},
                   {"peak_bytes", peak_bytes},
                   {"shapes", shapes_json(shapes)}});
  return json;
}

RunResult RunResult::from_json(const Json& json, const TaskDescription& task) {
  RunResult r{.finished = true,
              .metric = task.primary(),
              .last = last_values(json, task),
              .best = optional_number(json, task.primary().name + "_best"),
              .loss_last = optional_number(json, "loss_last"),
              .validation_last = optional_number(json, kValidationPrefix + task.primary().name + "_last"),
              .validation_best = optional_number(json, kValidationPrefix + task.primary().name + "_best"),
              .gmacs = json.at("gmacs").get<double>(),
              .gmacs_target = optional_number(json, "gmacs_target"),
              .parameters = json.at("parameters").get<int64_t>(),
              .steps = json.at("steps").get<int64_t>(),
              .seconds = json.at("seconds").get<double>(),
              .images_per_second = json.at("images_per_second").get<double>(),
              .peak_bytes = json.at("peak_bytes").get<size_t>(),
              .shapes = {}};
  for (const auto& [slot, size] : json.at("shapes").items()) {
    const auto lengths = size.get<std::vector<int64_t>>();
    r.shapes.emplace_back(slot, Dims(lengths));
  }
  return r;
}

}  // namespace tidepool
