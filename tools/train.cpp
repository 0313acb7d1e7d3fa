// tidepool train: one run.
#include <nlohmann/json.hpp>

#include "tools/command.h"
#include "tools/data_root.h"
#include "tools/progress.h"
#include "tools/run_config.h"
#include "tools/signals.h"
#include "train/run.h"

namespace tidepool {
namespace {

int run(const Call& call) {
  const Config config = config_of(call);
  const auto out = call.given("out") ? call.path("out") : std::filesystem::path("runs") / config.name;
  std::vector<std::string> command{"tidepool", "train", call.argument(), "--seed", std::to_string(config.train.seed)};
  for (const std::string& set : call.texts("set")) command.insert(command.end(), {"--set", set});

  catch_stop_signals();
  RunResult result;
  {
    Progress progress(config.name, 0, "steps");
    bool begun = false;
    result =
        train_run(config, {.out = out,
                           .data_root = data_root_of(call, config.data),
                           .resume = call.flag("resume"),
                           .provenance = provenance(command),
                           .progress =
                               [&](const RunProgress& p) {
                                 if (!begun) progress.set_start(p.step - 1);
                                 begun = true;
                                 progress.set_total(p.steps);
                                 progress.update(
                                     p.step, fmt::format("epoch {}/{}  loss {:.3f}  {:.0f} images/s{}", p.epoch + 1,
                                                         p.epochs, p.loss, p.images_per_second,
                                                         p.top1 ? fmt::format("  top-1 {:.2f}%", 100 * *p.top1) : ""));
                               },
                           .stop = stop_requested});
  }
  if (!result.finished) {
    fmt::print(stderr, "tidepool train: stopped after step {}; `--resume --out {}` goes on\n", result.steps,
               out.string());
    return stop_status();
  }
  if (call.json()) {
    print_json(result.json());
    return 0;
  }
  std::vector<std::string> shapes;
  for (const auto& [place, size] : result.shapes) shapes.push_back(fmt::format("{} {}", place, size.str()));
  const auto percent = [](const std::optional<double>& top1) {
    return top1 ? fmt::format("{:.2f}%", 100 * *top1) : std::string("not evaluated");
  };
  print(fmt::format("top-1 {} (last), {} (best)\n{:.4f} GMACs, {} parameters, {} steps at {:.0f} images/s\n{}\nin {}\n",
                    percent(result.top1_last), percent(result.top1_best), result.gmacs, result.parameters, result.steps,
                    result.images_per_second, fmt::join(shapes, ", "), out.string()));
  return 0;
}

const Registered registered(
    {.name = "train",
     .says = "trains a network as a config says",
     .arguments = {"CONFIG"},
     .options = {set_option(),
                 device_option(),
                 data_option(),
                 {.name = "out", .value = "DIR", .says = "the run directory (runs/NAME)"},
                 {.name = "resume", .says = "go on where the run directory stands"},
                 seed_option("", "in place of train.seed"),
                 json_option()},
     .details = "CONFIG is a file, or one of the configs in the program (cifar100_vgg16.json ...).\n"
                "Ctrl-C finishes the step, saves a checkpoint and exits with 130.\n",
     .run = run});

}  // namespace
}  // namespace tidepool
