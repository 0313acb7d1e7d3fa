// tidepool bench: times what this machine does.
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/find_named.h"
#include "tools/bench_beside.h"
#include "tools/bench_data.h"
#include "tools/bench_ops.h"
#include "tools/bench_step.h"
#include "tools/command.h"

namespace tidepool {
namespace {

int run(const Call& call) {
  static const std::vector<std::string> kWhat = {"conv", "data", "ops", "step"};
  if (call.argument() == "ops") {
    refuse_options(call, "bench ops", {"data"});
    return bench_ops(call);
  }
  if (call.argument() == "data") {
    refuse_options(call, "bench data", names_of(bench_ops_options()));
    refuse_options(call, "bench data", {"beside", "copy"});
    return bench_data(call);
  }
  if (call.argument() == "step" || call.argument() == "conv") {
    refuse_options(call, "bench " + call.argument(), names_of(bench_ops_options()));
    refuse_options(call, "bench " + call.argument(), {"data"});
    if (call.argument() == "conv") {
      refuse_options(call, "bench conv", {"beside", "copy"});
      return bench_conv(call);
    }
    return call.flag("copy") ? bench_copy(call) : call.flag("beside") ? bench_beside(call) : bench_step(call);
  }
  throw Error("expected {}, got '{}'{}", fmt::join(kWhat, " or "), call.argument(),
              did_you_mean(call.argument(), kWhat));
}

std::vector<Option> all_options() {
  std::vector<Option> all = bench_step_options();
  for (Option& option : bench_ops_options()) all.push_back(std::move(option));
  all.push_back(data_option());
  all.push_back(json_option());
  return all;
}

const Registered registered(
    {.name = "bench",
     .help = "times training steps, convolutions, input and pooling operators",
     .arguments = {"step|conv|data|ops", "[CONFIG]"},
     .options = all_options(),
     .details =
         "step: the whole training step by kind of work, beside its convolutions alone (ours, and oneDNN's direct "
         "ones)\n"
         "in the same turns, on made-up images. Without CONFIG: vgg16, width 1, 2x2 max pooling, batch 128, f32.\n"
         "step --beside: both processes together should do the work of one alone: 1.00 of half the lone speed each.\n"
         "conv: every convolution of CONFIG by oneDNN and by Winograd's F(2x2) and F(4x4) (with sides of 1 to 5 that\n"
         "suit the map), and where the rule that chooses was wrong by more than 10%.\n"
         "data: training batches of CONFIG, without a network, by the number of workers. Without CONFIG:\n"
         "toy_procedural.json.\n"
         "ops: every pooling operator that shrinks a map by 2, in both layouts, beside a plain copy and oneDNN's own\n"
         "max and average. GB/s are of the bytes that must move: forward reads x and writes y; the backward reads dy\n"
         "and what the forward kept for it, and writes dx; parameters and their gradients count too.\n",
     .run = run});

}  // namespace
}  // namespace tidepool
