// tidepool plot: curves of one or several runs.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tools/command.h"
#include "tools/figure_output.h"
#include "train/figures/curves.h"
#include "train/figures/run_record.h"

namespace tidepool {
namespace {

std::vector<std::string> panels_of(const Call& call) {
  std::vector<std::string> panels;
  if (!call.given("panels")) return panels;
  const std::string text = call.text("panels");
  for (size_t from = 0; from <= text.size();) {
    const size_t comma = std::min(text.find(',', from), text.size());
    const std::string name = text.substr(from, comma - from);
    const auto& known = figures::curve_panels();
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw Error("--panels: expected some of {}, got '{}'{}", fmt::join(known, ", "), name, did_you_mean(name, known));
    panels.push_back(name);
    from = comma + 1;
  }
  return panels;
}

int run(const Call& call) {
  const std::filesystem::path out = figure_path(call);
  figures::CurveOptions options{.title = call.text("title"), .panels = panels_of(call)};
  options.steps = call.choice("axis") == "steps";
  options.columns = static_cast<size_t>(call.integer("columns", 1, 8));
  const std::vector<std::filesystem::path> paths(call.arguments().begin(), call.arguments().end());
  const auto groups = figures::read_groups(paths, {}, call.texts("label"));
  figures::Drawing drawing = figures::draw_curves(groups, options);
  Json rows = Json::array();
  for (const auto& group : groups) rows.push_back({{"label", group.label}, {"seeds", group.runs.size()}});
  if (drawing.title.empty())
    drawing.title = fmt::format("curves of {} row{} of runs", groups.size(), groups.size() == 1 ? "" : "s");
  write_figure(call, out, drawing, {{"rows", rows}});
  return 0;
}

const Registered registered(
    {.name = "plot",
     .help = "curves of runs: loss, accuracy, learning rate, shape parameters, map sizes, as SVG or PNG",
     .arguments = {"RUN..."},
     .options = {{.name = "out", .value = "FILE", .help = "the figure, .svg or .png", .default_value = "plot.svg"},
                 {.name = "panels",
                  .value = "NAME,...",
                  .help =
                      "of loss, accuracy, lr, penalty, shapes and sizes; else all that the runs have something for"},
                 {.name = "axis",
                  .value = "NAME",
                  .help = "the x axis: epochs or steps",
                  .default_value = "epochs",
                  .choices = {"epochs", "steps"}},
                 {.name = "label",
                  .value = "TEXT",
                  .help = "name of a row in the legend, one for each, in order",
                  .repeated = true},
                 {.name = "title", .value = "TEXT", .help = "above the figure"},
                 {.name = "columns", .value = "N", .help = "panels side by side", .default_value = "2"},
                 json_option()},
     .details = "RUN is a run directory, or a folder with some below it, as a table's. Runs whose configs differ in "
                "the seed alone "
                "are one row:\n"
                "its curve is their mean, with a band of one standard deviation. A run that still trains is drawn as "
                "far as it "
                "is.",
     .run = run});

}  // namespace
}  // namespace tidepool
