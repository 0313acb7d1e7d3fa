// tidepool eval: a run or a checkpoint on the test images.
#include <nlohmann/json.hpp>

#include "core/safetensors.h"
#include "tools/command.h"
#include "tools/data_root.h"
#include "tools/run_config.h"
#include "train/run_directory.h"
#include "train/setup.h"
#include "train/step.h"

namespace tidepool {
namespace {

int run(const Call& call) {
  const SavedRun saved = open_saved_run(expand_home(call.argument()));
  const Config config = load_config_text(completed_config(saved.config).dump(), saved.checkpoint.string() + " (config)",
                                         call.texts("set"));
  const std::filesystem::path output = call.given("output") ? call.path("output") : std::filesystem::path();
  if (call.given("output") && std::filesystem::exists(output) && std::filesystem::equivalent(output, saved.checkpoint))
    throw Error("--output: {} is the checkpoint itself", output.string());
  const auto network = make_run_network(config);
  load_weights(saved.file, *network, saved.checkpoint);
  const RunData data = open_test_data(config.data, data_root_of(call, config.data));
  Loader loader(data.test, data.normalisation, loader_options(config, false));
  Tensor logits;
  const Evaluation e = evaluate(*network, loader, call.given("output") ? &logits : nullptr, data.test->size());
  if (logits)
    write_safetensors(output,
                      {.tensors = {{"logits", logits}}, .metadata = {{"checkpoint", saved.checkpoint.filename()}}});
  if (call.json())
    print_json({{"top1", e.top1}, {"top5", e.top5}, {"loss", e.loss}, {"images", e.images}});
  else
    print(fmt::format("top-1 {:.2f}%, top-5 {:.2f}%, loss {:.4f} on {} images\n", 100 * e.top1, 100 * e.top5, e.loss,
                      e.images));
  return 0;
}

const Registered registered(
    {.name = "eval",
     .help = "evaluates a run or a checkpoint on the test images",
     .arguments = {"RUN_OR_CHECKPOINT"},
     .options = {set_option(),
                 data_option(),
                 {.name = "output",
                  .value = "FILE",
                  .help = "write `logits` (images x classes, in the data set's order)"},
                 json_option()},
     .details =
         "A run directory stands for its last.safetensors; name best.safetensors to have that. Data, normalisation\n"
         "and network are the run's own where --set and --data do not say otherwise; a moving average of the\n"
         "weights (optim.ema) is what is evaluated where there is one. A network that --set changes must have\n"
         "the checkpoint's tensors.\n",
     .run = run});

}  // namespace
}  // namespace tidepool
