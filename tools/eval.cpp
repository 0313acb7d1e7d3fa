// tidepool eval: a run or a checkpoint on the test images.
#include <nlohmann/json.hpp>

#include "tools/command.h"
#include "tools/data_root.h"
#include "tools/run_config.h"
#include "train/run_directory.h"
#include "train/setup.h"
#include "train/step.h"

namespace tidepool {
namespace {

// Rows of classes with the names that the data set has for them.
Json with_names(const Json& rows, const Dataset& data) {
  Json named = Json::array();
  for (const Json& row : rows) {
    Json& to = named.emplace_back(Json::object());
    for (const auto& [key, value] : row.items()) {
      to[key] = value;
      if (key != "class") continue;
      const auto label = value.get<int32_t>();  // a network may have more classes than its data
      to["name"] = label < data.classes() ? data.class_name(label) : "";
    }
  }
  return named;
}

// Rows that have the same keys.
std::string table_text(const Json& rows) {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> cells;
  for (const Json& row : rows) {
    header.clear();
    cells.emplace_back();
    for (const auto& [key, value] : row.items()) {
      header.push_back(key);
      cells.back().push_back(value.is_string()         ? value.get<std::string>()
                             : value.is_null()         ? "-"
                             : value.is_number_float() ? fmt::format("{:.4f}", value.get<double>())
                                                       : value.dump());
    }
  }
  return text_table(header, cells);
}

// "classification: a file with ...; segmentation: ..."
std::string predictions_help() {
  std::string help;
  for (const TaskDescription* task : tasks())
    help += fmt::format("{}{}: {}", help.empty() ? "" : "; ", task->name, task->predictions);
  return help;
}

int run(const Call& call) {
  const SavedRun saved = open_saved_run(expand_home(call.argument()));
  const Config config = load_config_text(completed_config(saved.config).dump(), saved.checkpoint.string() + " (config)",
                                         config_sets(call));
  const std::filesystem::path output = call.given("output") ? call.path("output") : std::filesystem::path();
  if (call.given("output") && std::filesystem::exists(output) && std::filesystem::equivalent(output, saved.checkpoint))
    throw Error("--output: {} is the checkpoint itself", output.string());
  expect_no_file_of_a_run(output);
  const auto network = make_run_network(config);
  const auto task = make_task(config, *network);
  load_weights(saved.file, *network, saved.checkpoint);
  const RunData data = open_test_data(config.data, data_root_of(call, config.data));
  expect_classes_fit(*data.test, *network);
  Loader loader(data.test, data.normalisation, loader_options(config, false));
  std::unique_ptr<Predictions> predictions;
  if (call.given("output"))
    predictions = task->predictions(output, data.test->size(), saved.checkpoint.filename().string());
  const Evaluation e = evaluate(*network, *task, loader, predictions.get());
  const std::vector<Metric>& metrics = find_task(config.task).metrics;
  Json json = Json::object();
  std::string text;
  Json tables = e.tables;
  for (auto& item : tables.items()) text += table_text(item.value() = with_names(item.value(), *data.test));
  for (size_t i = 0; i < metrics.size(); ++i) {
    json[metrics[i].name] = e.metrics[i];
    text += MetricValue{metrics[i], e.metrics[i]}.text() + ", ";
  }
  text += fmt::format("loss {:.4f} on {} images\n", e.loss, e.images);
  json.update(Json{{"loss", e.loss}, {"images", e.images}});
  json.update(tables);
  if (call.json())
    print_json(json);
  else
    print(text);
  return 0;
}

const Registered registered(
    {.name = "eval",
     .help = "evaluates a run or a checkpoint on the test images",
     .arguments = {"RUN_OR_CHECKPOINT"},
     .options = {set_option(),
                 device_option(),
                 data_option(),
                 {.name = "output", .value = "PATH", .help = "write the predictions: " + predictions_help()},
                 json_option()},
     .details =
         "A run directory stands for its last.safetensors; name best.safetensors to have that. Data, normalisation\n"
         "and network are the run's own where --set and --data do not say otherwise; a moving average of the\n"
         "weights (optim.ema) is what is evaluated where there is one. A network that --set changes must have\n"
         "the checkpoint's tensors.\n",
     .run = run});

}  // namespace
}  // namespace tidepool
