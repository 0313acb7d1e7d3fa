// tidepool figure: the papers' figures, from images or from runs.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/find_named.h"
#include "data/dataset.h"
#include "tools/command.h"
#include "tools/data_root.h"
#include "tools/figure_output.h"
#include "train/figures/learned_shapes.h"
#include "train/figures/pareto.h"
#include "train/figures/run_record.h"
#include "train/figures/variants.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kFigures = {"1", "4", "pareto"};

// CIFAR-100 where it is found, else images that are made up.
std::string data_set_of(const Call& call) {
  const std::string& name = call.text("data-set");
  if (name == "auto") return find_data("cifar100", call.text("data")) ? "cifar100" : "procedural";
  return std::string(find_named(datasets(), name, "--data-set: unknown data set").name);
}

int variants(const Call& call) {
  refuse_options(call, "figure 1", {"title", "label"});
  if (call.arguments().size() > 1)
    throw Error("figure 1 is drawn from images: it takes no RUN, got '{}'", call.argument(1));
  const fs::path out = figure_path(call);
  const std::string name = data_set_of(call);
  const int64_t images = call.integer("images", 1, 64);
  DatasetOptions options;
  options.split = Split::kTest;
  options.root = require_data(name, call.text("data"));
  const auto dataset = open_dataset(name, options);
  if (dataset->format().label_maps) throw Error("--data-set {}: the variants are for images with one label", name);
  const ImageShape shape = dataset->shape();
  const auto longest = static_cast<double>(std::max(shape.height, shape.width));
  figures::Drawing drawing =
      figures::draw_variants(*dataset, {.images = images, .pixel = std::clamp(80 / longest, 0.1, 8.0)});
  write_figure(call, out, drawing, {{"data_set", name}});
  return 0;
}

int of_runs(const Call& call) {
  const std::string& figure = call.argument();
  refuse_options(call, "figure " + figure, {"data", "data-set", "images"});
  if (call.arguments().size() < 2)
    throw Error("figure {} is drawn from runs: tidepool figure {} RUN..., run directories or a table's folder", figure,
                figure);
  const fs::path out = figure_path(call);
  const std::vector<fs::path> paths(call.arguments().begin() + 1, call.arguments().end());
  const bool pareto = figure == "pareto";
  const auto groups = figures::read_groups(paths, {.log = false, .shapes = !pareto}, call.texts("label"));
  figures::Drawing drawing = pareto ? figures::draw_pareto(groups, call.text("title"))
                                    : figures::draw_learned_shapes(groups, {.title = call.text("title")});
  size_t unfinished = 0;
  for (const auto& group : groups)
    for (const auto& run : group.runs) unfinished += run.result ? 0 : 1;
  if (unfinished > 0)
    spdlog::warn("{} run{} not ended yet: {}", unfinished, unfinished == 1 ? " has" : "s have",
                 pareto ? "left out" : "drawn as it stands");
  Json rows = Json::array();
  for (const auto& group : groups) rows.push_back({{"label", group.label}, {"seeds", group.runs.size()}});
  if (drawing.title.empty())
    drawing.title = pareto ? "accuracy against GMACs" : "map sizes of every resize slot, to scale";
  write_figure(call, out, drawing, {{"rows", rows}, {"unfinished", unfinished}});
  return 0;
}

int run(const Call& call) {
  const std::string& figure = call.argument();
  if (figure == "1") return variants(call);
  if (figure == "4" || figure == "pareto") return of_runs(call);
  throw Error("unknown figure '{}'{}; there are: {}", figure, did_you_mean(figure, kFigures),
              fmt::join(kFigures, ", "));
}

const Registered registered(
    {.name = "figure",
     .help = "1: images of the variants; 4: learned shapes to scale; pareto: accuracy against GMACs; as SVG or PNG",
     .arguments = {"1|4|pareto", "[RUN...]"},
     .options = {{.name = "out", .value = "FILE", .help = "the figure, .svg or .png", .default_value = "figure.svg"},
                 data_option(),
                 {.name = "data-set",
                  .value = "DATA_SET",
                  .help = "1: a data set; auto is cifar100 where it is found, else procedural",
                  .default_value = "auto"},
                 {.name = "images", .value = "N", .help = "1: columns of the sheet", .default_value = "8"},
                 {.name = "label",
                  .value = "TEXT",
                  .help = "4, pareto: name of a row, one for each, in order",
                  .repeated = true},
                 {.name = "title", .value = "TEXT", .help = "4, pareto: above the figure"},
                 json_option()},
     .details = "RUN is a run directory, or a folder with some below it, as a table's (runs/table1-quick-cifar100). "
                "Runs whose configs "
                "differ in the\n"
                "seed alone are one row. 4 draws the map after every resize slot to scale, human-designed beside Shape "
                "Adaptor beside "
                "DynOPool, and\n"
                "the path of every shape parameter; pareto a point per row with the 95% intervals of its means.",
     .run = run});

}  // namespace
}  // namespace tidepool
