// tidepool data: what data sets are there, a look at them, their download.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/find_named.h"
#include "data/dataset.h"
#include "data/fetch.h"
#include "data/png.h"
#include "data/preview.h"
#include "tools/command.h"
#include "tools/data_root.h"
#include "tools/progress.h"
#include "tools/signals.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

bool can_be_fetched(const std::string& name) {
  const std::vector<std::string> names = known_data_set_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

int info(const Call& call) {
  refuse_options(call, "data info", {"output", "images", "scale", "split", "seed", "url", "keep-archive"});
  std::vector<std::string> names = dataset_names();
  if (!call.argument(1).empty()) {
    find_named(datasets(), call.argument(1), "unknown data set");
    names = {call.argument(1)};
  }
  data_locations(call.text("data"));  // refuses variables that are no text
  Json list = Json::array();
  std::vector<std::vector<std::string>> rows;
  for (const std::string& name : names) {
    // --data is asked of every data set; one that it does not hold is only an error when that one was named.
    std::optional<DataLocation> location;
    try {
      location = find_data(name, call.text("data"));
    } catch (const Error&) {
      if (names.size() == 1) throw;
    }
    Json row = {{"name", name}};
    try {
      if (find_dataset(name).find && !location) {
        row["found"] = false;
        if (can_be_fetched(name)) row["command"] = "tidepool data fetch " + name;
        rows.push_back({name, "-", "-", "-", "-", "not found; " + how_to_get(name)});
      } else {
        DatasetOptions options;
        if (location) options.root = location->folder;
        const auto train = open_dataset(name, options);
        options.split = Split::kTest;
        const auto test = open_dataset(name, options);
        const ImageShape shape = train->shape();
        row["found"] = true;
        row["folder"] = location ? Json(location->folder.string()) : Json(nullptr);
        row["said_by"] = location ? Json(location->said_by) : Json(nullptr);
        row["train_images"] = train->size();
        row["test_images"] = test->size();
        row["classes"] = train->classes();
        row["label_maps"] = train->format().label_maps;
        row["shape"] = {shape.channels, shape.height, shape.width};
        rows.push_back({name, std::to_string(train->size()), std::to_string(test->size()),
                        std::to_string(train->classes()),
                        fmt::format("{}x{}x{}", shape.channels, shape.height, shape.width),
                        location ? fmt::format("{} ({})", location->folder.string(), location->said_by)
                                 : "made up; needs no files"});
      }
    } catch (const Error& problem) {  // of this one; the others are listed
      if (names.size() == 1) throw;
      row["found"] = false;
      row["problem"] = problem.what();
      rows.push_back({name, "-", "-", "-", "-", problem.what()});
    }
    list.push_back(row);
  }
  if (call.json())
    print_json({{"data", list}});
  else
    print(text_table({"data set", "training", "test", "classes", "image", "where"}, rows,
                     {.minor = {"image", "classes", "test"}}));
  return 0;
}

int preview(const Call& call) {
  refuse_options(call, "data preview", {"url", "keep-archive"});
  const std::string name = call.argument(1).empty() ? "procedural" : call.argument(1);
  find_named(datasets(), name, "unknown data set");
  DatasetOptions dataset_options;
  dataset_options.split = call.choice("split") == "train" ? Split::kTrain : Split::kTest;
  dataset_options.seed = call.seed();
  const int64_t images = call.integer("images", 1, 1000);
  PreviewOptions options;
  options.scale = call.integer("scale", 1, 64);
  const fs::path output = call.path("output");
  if (output.extension() != ".png")
    throw Error("--output: expected a file that ends in .png, got '{}'", output.string());
  dataset_options.root = require_data(name, call.text("data"));
  const auto dataset = open_dataset(name, dataset_options);
  options.images = preview_indices(*dataset, images);
  const bool label_maps = dataset->format().label_maps;
  if (label_maps) options.variants = {{}};
  const RgbImage sheet = make_preview(*dataset, options);
  write_png(output, sheet);
  if (call.json())
    print_json(
        {{"file", output.string()}, {"width", sheet.width}, {"height", sheet.height}, {"images", options.images}});
  else
    print(fmt::format("{}: {}x{} pixels; rows: the images as they are, {}\n", output.string(), sheet.width,
                      sheet.height, label_maps ? "their label maps" : "stretch_v, tile, large"));
  return 0;
}

int fetch(const Call& call) {
  refuse_options(call, "data fetch", {"output", "images", "scale", "split", "seed"});
  const std::string name = call.argument(1).empty() ? "cifar100" : call.argument(1);
  if (!can_be_fetched(name)) {
    find_named(datasets(), name, "unknown data set");
    if (find_dataset(name).find) throw Error("{} cannot be fetched; {}", name, how_to_get(name));
    throw Error("{} is made up; there is nothing to fetch", name);
  }
  const KnownDataSet& known = known_data_set(name);
  const fs::path folder = data_locations(call.text("data")).front().folder;
  FetchOptions options;
  options.url = call.text("url");
  options.keep_archive = call.flag("keep-archive");
  std::error_code code;
  fs::create_directories(folder, code);
  if (!fs::is_directory(folder, code)) throw Error("{}: this folder cannot be made", folder.string());

  catch_stop_signals();
  Progress bar(known.archive, 0, "", Progress::Unit::kBytes);
  bool fetched = false;
  try {
    fetched = fetch_data_set(known, folder, options, [&](int64_t done, int64_t total) {
      bar.set_total(total);
      bar.update(done);
      return !stop_requested();
    });
  } catch (const Failure& failure) {
    bar.finish();
    if (!stop_requested()) throw;
    spdlog::warn("stopped; the next `tidepool data fetch` resumes from here");
    return stop_status();
  }
  bar.finish();
  if (call.json())
    print_json({{"name", name}, {"folder", folder.string()}, {"fetched", fetched}});
  else
    print(fmt::format("{}: {} {}\n", folder.string(), name, fetched ? "was fetched" : "is there already"));
  return 0;
}

int run(const Call& call) {
  static const std::vector<std::string> kActions = {"info", "preview", "fetch"};
  const std::string& action = call.argument();
  if (action == "info") return info(call);
  if (action == "preview") return preview(call);
  if (action == "fetch") return fetch(call);
  throw Error("expected info, preview or fetch, got '{}'{}", action, did_you_mean(action, kActions));
}

const Registered registered({
    .name = "data",
    .help = "info: which data sets are there; preview: a contact sheet as PNG; fetch: downloads one",
    .arguments = {"info|preview|fetch", "[DATA_SET]"},
    .options =
        {
            data_option(),
            json_option(),
            {.name = "output",
             .value = "FILE",
             .help = "preview: the PNG to be written",
             .default_value = "preview.png"},
            {.name = "images", .value = "N", .help = "preview: columns of the sheet", .default_value = "10"},
            {.name = "scale", .value = "N", .help = "preview: a pixel becomes N x N", .default_value = "3"},
            {.name = "split",
             .value = "NAME",
             .help = "preview: train or test",
             .default_value = "train",
             .choices = {"train", "test"}},
            seed_option("0", "preview: seed of images that are made up"),
            {.name = "url", .value = "URL", .help = "fetch: another address to download from"},
            {.name = "keep-archive",
             .value = "",
             .help = "fetch: keeps the archive beside what is unpacked",
             .default_value = ""},
        },
    .details =
        "DATA_SET is cifar10, cifar100, folder, procedural, random, shapes or voc (default: all of them in info,\n"
        "procedural in preview, cifar100 in fetch). folder and voc are your own pictures, below --data.\n"
        "fetch downloads into --data, else $TIDEPOOL_DATA, else ~/.cache/tidepool; a download that broke off is "
        "resumed.",
    .run = run,
});

}  // namespace
}  // namespace tidepool
