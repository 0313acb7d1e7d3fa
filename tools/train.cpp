// tidepool train: one run.
#include <nlohmann/json.hpp>
#include <optional>

#include "tools/command.h"
#include "tools/data_root.h"
#include "tools/progress.h"
#include "tools/run_config.h"
#include "tools/signals.h"
#include "tools/work_timer.h"
#include "train/run.h"
#include "train/same_run.h"

namespace tidepool {
namespace {

// One line per epoch; on a terminal without what does not fit.
std::string epoch_line(const EpochSummary& e) {
  std::vector<std::string> parts{fmt::format("epoch {:>{}}/{}", e.epoch, std::to_string(e.epochs).size(), e.epochs),
                                 fmt::format("loss {:.3f}", e.loss)};
  if (e.other_loss) parts.push_back(fmt::format("{} loss {:.3f}", e.validation ? "validation" : "test", *e.other_loss));
  if (e.metric) parts.push_back(e.metric->text());
  parts.push_back(fmt::format("{:.0f} images/s", e.images_per_second));
  parts.push_back(duration_text(e.seconds));
  return fitted_line(parts, "  ", terminal_width(STDERR_FILENO));
}

namespace fs = std::filesystem;

// What is trained, and where.
struct Request {
  Config config;
  fs::path out;
};

bool is_config(const fs::path& named) {
  try {
    load_config(named);
    return true;
  } catch (const Error&) {
    return false;
  }
}

// With --resume and without --out the argument may be the run directory itself, whose config is then the run's.
Request request_of(const Call& call) {
  const fs::path named = expand_home(call.argument());
  if (call.flag("resume") && fs::is_directory(named)) {
    if (call.given("out")) throw Error("--out: {} is a run directory already, to be resumed as it is", named.string());
    if (!fs::exists(named / "config.json"))
      throw Error("{}: expected a run directory to resume, it holds no config.json", named.string());
    return {.config = config_in(call, named / "config.json"), .out = named};
  }
  if (call.flag("resume") && named.extension() == ".safetensors")
    throw Error("{}: a checkpoint; --resume takes its run directory{}", named.string(),
                named.has_parent_path() ? ", " + named.parent_path().string() : "");
  if (call.flag("resume") && !call.given("out") && !fs::exists(named) && !is_config(named))
    throw Error("{}: expected a run directory to resume, or its config; there is neither", named.string());
  Request request{.config = config_of(call), .out = {}};
  request.out = call.given("out") ? call.path("out") : fs::path("runs") / request.config.name;
  if (call.flag("resume")) request.config = resumed_config(request.config, request.out);
  return request;
}

int run(const Call& call) {
  const Request request = request_of(call);
  const Config& config = request.config;
  const fs::path& out = request.out;
  std::vector<std::string> command{"tidepool", "train", call.argument(), "--seed", std::to_string(config.train.seed)};
  if (call.flag("resume")) command.insert(command.begin() + 2, "--resume");
  for (const std::string& set : config_sets(call)) command.insert(command.end(), {"--set", set});

  const bool profiled = call.flag("profile");
  WorkTimer timer(/*keep_trace=*/true);
  int64_t first_step = 0, last_step = 0;
  RunResult result;
  {
    std::optional<Observer::Scope> watching;
    if (profiled) watching.emplace(&timer);
    Progress progress(config.name, 0, "steps");
    bool begun = false;
    RunProgress latest;
    result = train_run(config, {.out = out,
                                .data_root = data_root_of(call, config.data),
                                .resume = call.flag("resume"),
                                .provenance = provenance(command),
                                .begin = catch_stop_signals,
                                .progress =
                                    [&](const RunProgress& p) {
                                      if (!begun) progress.set_start(first_step = p.step - 1);
                                      begun = true;
                                      last_step = p.step;
                                      progress.set_total(p.steps);
                                      progress.update(p.step, progress_notes(latest = p));
                                    },
                                .epoch_ended =
                                    [&](const EpochSummary& e) {
                                      if (e.metric) latest.metric = e.metric;  // evaluated after the last step
                                      progress.update(latest.step, progress_notes(latest));
                                      print_progress_line(epoch_line(e));
                                    },
                                .stop = stop_requested});
  }
  if (profiled) timer.write_trace(out / "trace.json");
  const int64_t steps = last_step - first_step;
  if (!result.finished) {
    say(fmt::format("tidepool train: stopped after step {}; `tidepool train --resume {}` resumes it\n", result.steps,
                    shell_word(out.string())));
    return stop_status();
  }
  if (call.json()) {
    Json json = result.json();
    if (profiled) json["kinds"] = timer.kinds(steps);
    print_json(json);
    return 0;
  }
  if (profiled)
    print(fmt::format("{}{} steps; every one of them in {}, for chrome://tracing or Perfetto\n", timer.table(steps),
                      steps, (out / "trace.json").string()));
  std::vector<std::string> shapes;
  for (const auto& [slot, size] : result.shapes) shapes.push_back(fmt::format("{} {}", slot, size.str()));
  const auto percent = [](const std::optional<double>& value) {
    return value ? fmt::format("{:.2f}%", 100 * *value) : std::string("not evaluated");
  };
  const std::string best =
      config.data.val_images > 0 ? fmt::format(", {} (best of the validation part)", percent(result.best)) : "";
  print(fmt::format("{} {} (last){}\n{:.4f} GMACs, {} parameters, {} steps at {:.0f} images/s\n{}\nin {}\n",
                    result.metric.label, percent(result.metric_last()), best, result.gmacs, result.parameters,
                    result.steps, result.images_per_second, fmt::join(shapes, ", "), out.string()));
  return 0;
}

const Registered registered(
    {.name = "train",
     .help = "trains a network as a config says",
     .arguments = {"CONFIG"},
     .options = {set_option(),
                 epochs_option(),
                 lr_option(),
                 batch_size_option(),
                 device_option(),
                 data_option(),
                 {.name = "out", .value = "DIR", .help = "the run directory (runs/NAME)"},
                 {.name = "profile", .help = "print where the time went, and write DIR/trace.json"},
                 {.name = "resume", .help = "resume a run: CONFIG is its directory, or --out is and CONFIG its config"},
                 seed_option("", "overrides train.seed"),
                 json_option()},
     .details =
         "CONFIG is a file, or the name of one in configs/ (here or beside the program's source) or compiled in:\n"
         "cifar100_vgg16.json ... The log says which file was read.\n"
         "`tidepool keys` lists the keys that --set can change.\n"
         "`tidepool train --resume RUN` resumes the run in the directory RUN with its own config, data and\n"
         "settings; --set may change only keys that do not decide weights (data.workers, train.max_steps ...).\n"
         "Ctrl-C finishes the step, saves a checkpoint and exits with 130.\n",
     .run = run});

}  // namespace
}  // namespace tidepool
