// tidepool export: a run's network, or its weights, in the files of others.
#include <nlohmann/json.hpp>

#include "core/torch_file.h"
#include "core/version.h"
#include "models/export.h"
#include "tools/command.h"
#include "tools/data_root.h"
#include "tools/run_config.h"
#include "train/run_directory.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

// data.normalize as numbers: the run saved them.
std::optional<PixelNormalisation> normalisation_of(const Config& config) {
  const Json stated = stated_normalize(config.data);
  if (!stated.is_object()) return std::nullopt;
  return PixelNormalisation{stated.at("mean").get<std::vector<double>>(), stated.at("std").get<std::vector<double>>()};
}

// What a class means, in the order of the logits: as the checkpoint has it, or the data set. Empty where nobody knows.
Json class_names(const Config& config, const SavedRun& saved) {
  if (const auto names = saved.file.metadata.find("classes"); names != saved.file.metadata.end())
    return parse_json(names->second, saved.checkpoint.string() + " (classes)");
  const auto root = available_data(config.data.name, "", config.data.root);
  return root ? class_names(*open_test_data(config.data, *root).test) : Json::array();
}

// What a reader of the file needs beside the numbers, as texts.
std::map<std::string, std::string> metadata_of(const Config& config, const std::optional<PixelNormalisation>& pixels,
                                               const Json& classes, const SavedRun& saved) {
  std::map<std::string, std::string> all{{"format", "pt"},
                                         {"producer", fmt::format("tidepool {}", kVersion)},
                                         {"network", config.model.name},
                                         {"run", config.name},
                                         {"checkpoint", saved.checkpoint.filename().string()}};
  if (pixels) all["normalize"] = Json{{"mean", pixels->mean}, {"std", pixels->stddev}}.dump();
  if (!classes.empty()) all["classes"] = classes.dump();
  return all;
}

// As torch has it: parameters, buffers, and how many batches each batch norm has seen.
SafetensorsFile state_dict(const Network& network, const SavedRun& saved) {
  SafetensorsFile file;
  const auto step = saved.file.metadata.find("step");
  const int64_t batches = step == saved.file.metadata.end() ? 0 : std::strtoll(step->second.c_str(), nullptr, 10);
  constexpr std::string_view kMean = "running_mean";
  for (const auto& [name, value] : network.state()) {
    file.tensors[name] = value;
    if (name.ends_with(kMean))
      file.tensors[name.substr(0, name.size() - kMean.size()) + "num_batches_tracked"] =
          Tensor::from<int64_t>({batches}, {});
  }
  return file;
}

int run(const Call& call) {
  const SavedRun saved = open_saved_run(expand_home(call.argument()));
  const std::string to = call.choice("to");
  const fs::path output = expand_home(call.argument(1));
  std::error_code code;
  if (fs::equivalent(output, saved.checkpoint, code)) throw Error("{}: is the checkpoint itself", output.string());
  expect_no_file_of_a_run(output);
  if (call.flag("pixels") && to != "onnx") throw Error("--pixels: a file of weights has no input; expected --to onnx");
  const Config config = load_config_text(completed_config(saved.config).dump(), saved.checkpoint.string() + " (config)",
                                         call.texts("set"));
  const auto network = make_run_network(config);
  load_weights(saved.file, *network, saved.checkpoint);
  const std::optional<PixelNormalisation> pixels = normalisation_of(config);
  if (call.flag("pixels") && !pixels)
    throw Error("--pixels: data.normalize of {} is {}: expected numbers (--set data.normalize=...)",
                saved.checkpoint.string(), brief_json(stated_normalize(config.data)));
  const Json classes = class_names(config, saved);
  const auto metadata = metadata_of(config, pixels, classes, saved);

  if (to == "onnx") {
    onnx::Graph graph;
    export_onnx(*network, graph, call.flag("pixels") ? pixels : std::nullopt);
    for (const auto& [key, value] : metadata)
      if (key != "format") graph.metadata(key, value);
    graph.metadata("input", call.flag("pixels") ? "pixels in [0, 1]" : "normalised pixels");
    graph.write(output);
  } else {
    SafetensorsFile file = state_dict(*network, saved);
    file.metadata = metadata;
    to == "torch" ? write_torch_file(output, file) : write_safetensors(output, file);
  }
  if (call.json())
    print_json({{"to", to},
                {"output", output.string()},
                {"bytes", fs::file_size(output)},
                {"input", std::vector<int64_t>(network->options().input.begin() + 1, network->options().input.end())},
                {"normalize", pixels ? Json::parse(metadata.at("normalize")) : Json(nullptr)},
                {"classes", classes}});
  return 0;
}

const Registered registered(
    {.name = "export",
     .help = "writes a run's network as ONNX, or its weights for PyTorch",
     .arguments = {"RUN_OR_CHECKPOINT", "FILE"},
     .options = {{.name = "to",
                  .value = "FORMAT",
                  .help = "onnx: the network, as standard operators; torch: a state dict, as torch.save writes it; "
                          "safetensors: the same tensors",
                  .required = true,
                  .choices = {"onnx", "torch", "safetensors"}},
                 {.name = "pixels", .help = "onnx: the input is pixels in [0, 1], and the graph normalises them first"},
                 set_option(),
                 json_option()},
     .details =
         "Names are those of torchvision, so that its networks load a state dict with strict=True. How pixels are\n"
         "normalised and what classes mean stand in the metadata (ONNX: metadata_props; torch: the attribute\n"
         "`metadata` of the dict): \"normalize\", and \"classes\" where the run or its data set knows them.\n"
         "An ONNX file (opset 18) computes in f32 what `tidepool eval` does, for any number of images, at the sizes\n"
         "that the run has learned; its input's size is the run's, or --set data.size. A moving average of the\n"
         "weights is what is written where there is one. FILE is replaced.\n",
     .run = run});

}  // namespace
}  // namespace tidepool
