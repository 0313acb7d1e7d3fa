// tidepool bench: times what this machine does.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/allocator.h"
#include "core/dnn.h"
#include "tools/bench_ops.h"
#include "tools/command.h"
#include "tools/run_config.h"
#include "tools/timing.h"
#include "train/step.h"

namespace tidepool {
namespace {

// Charges the time since the last event to the operator that ends now.
class KindTimer final : public Tape::Watch {
 public:
  void output(const char* op, std::span<const Tensor>) override { charge(kind_of(op), " forward"); }
  void pulled(const char* op, const std::string&, std::span<const Tensor>) override {
    charge(kind_of(op), " backward");
  }
  void worked(const char* kind) override { charge(kind); }
  void charge(const std::string& kind, const char* direction = "") {
    const auto now = Clock::now();
    seconds[kind + direction] += seconds_between(last_, now);
    last_ = now;
  }
  void restart() { last_ = Clock::now(); }
  std::map<std::string, double> seconds;

 private:
  static std::string kind_of(const std::string& op) {
    if (op.starts_with("conv")) return "convolution";
    if (op.starts_with("batch_norm") || op == "norm_relu") return "norm";
    if (op == "linear" || op == "global_avg" || op == "cross_entropy") return op;
    return "pooling";
  }
  Clock::time_point last_ = Clock::now();
};

struct StepTimes {
  double training = 0, evaluation = 0;  // seconds a step, medians
  std::map<std::string, double> kinds;  // seconds a step
  size_t peak_bytes = 0;
  uint64_t system_calls = 0;  // of the allocator, in the timed steps
};

StepTimes time_steps(const Config& config, Network& network, int64_t steps) {
  Optimizer optimizer(config.optim, network.parameters(), 1 << 20, 1 << 20);
  Stepper stepper(network, optimizer, config.loss, config.train.seed);
  const TensorBatch batch = made_up_batch(config, network, config.train.batch);
  constexpr int64_t kWarmup = 4;  // until every size class has its blocks
  for (int64_t i = 0; i < kWarmup; ++i) stepper.step(batch, i);
  Allocator::of(kCpu).reset_peak();
  const uint64_t calls_before = Allocator::of(kCpu).stats().system_calls;

  StepTimes times;
  std::vector<double> training, evaluation;
  for (int64_t i = 0; i < steps; ++i) {
    const auto begin = Clock::now();
    stepper.step(batch, kWarmup + i);
    training.push_back(seconds_between(begin, Clock::now()));
  }
  times.training = median(training);
  times.peak_bytes = Allocator::of(kCpu).stats().peak_bytes;
  times.system_calls = Allocator::of(kCpu).stats().system_calls - calls_before;

  KindTimer timer;  // apart from the steps above, so that watching costs them nothing
  stepper.after_backward = [&] { timer.charge("other"); };
  for (int64_t i = 0; i < steps; ++i) {
    const Tape::Watching watching(&timer);
    timer.restart();
    stepper.step(batch, kWarmup + steps + i);
    timer.charge("optimizer");
  }
  for (const auto& [kind, seconds] : timer.seconds) times.kinds[kind] = seconds / static_cast<double>(steps);

  for (int64_t i = 0; i <= steps; ++i) {
    const auto begin = Clock::now();
    network.forward(batch.images, {.training = false});
    if (i > 0) evaluation.push_back(seconds_between(begin, Clock::now()));
  }
  times.evaluation = median(evaluation);
  return times;
}

std::vector<ConvCase> convolutions_of(const Network& network, int64_t batch) {
  std::vector<ConvCase> cases;
  for (const TracedLayer& layer : network.trace().layers) {
    if (!layer.convolution) continue;
    ConvCase one{.x = layer.convolution->input,
                 .weight = layer.convolution->weight,
                 .options = layer.convolution->options,
                 .needs_dx = !cases.empty()};
    one.x[0] = batch;
    cases.push_back(one);
  }
  return cases;
}

std::vector<std::string> names_of(const std::vector<Option>& options) {
  std::vector<std::string> names;
  for (const Option& option : options) names.push_back(option.name);
  return names;
}

int bench_step(const Call& call) {
  refuse_options(call, "bench step", names_of(bench_ops_options()));
  const Config config = config_of(call, 1, "cifar100_vgg16.json");
  const auto network = make_run_network(config);
  if (network->options().dtype == DType::f64) throw Error("bench step: train.dtype: expected f32 or bf16, got f64");
  const int64_t steps = call.integer("steps", 1, 1000);
  const auto cases = convolutions_of(*network, config.train.batch);
  const ConvSeconds direct = time_onednn_convolutions(cases, network->options().dtype, MemoryFormat::channels_last,
                                                      static_cast<int>(std::max<int64_t>(3, steps)));
  const StepTimes times = time_steps(config, *network, steps);
  const auto images = static_cast<double>(config.train.batch);
  const double training = images / times.training, evaluation = images / times.evaluation;
  const double convolutions = images / direct.total();

  Json kinds = Json::object();
  for (const auto& [kind, seconds] : times.kinds) kinds[kind] = 1e3 * seconds;
  if (call.json()) {
    print_json({{"name", config.name},
                {"batch", config.train.batch},
                {"dtype", config.train.dtype},
                {"threads", cpu_threads()},
                {"images_per_second", training},
                {"evaluation_images_per_second", evaluation},
                {"convolutions_images_per_second", convolutions},
                {"direct_images_per_second", convolutions},
                {"share", training / convolutions},
                {"peak_bytes", times.peak_bytes},
                {"system_allocations", times.system_calls},
                {"kinds", kinds}});
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& [kind, seconds] : times.kinds) rows.push_back({kind, fmt::format("{:.2f}", 1e3 * seconds)});
  print(text_table({"kind of work", "ms a step"}, rows));
  print(
      fmt::format("training {:.1f} images/s, {:.2f} of the convolutions alone ({:.1f}; oneDNN direct)\n"
                  "evaluation {:.1f} images/s; peak {:.1f} MiB; {} allocations from the system in {} steps\n",
                  training, training / convolutions, convolutions, evaluation,
                  static_cast<double>(times.peak_bytes) / (1 << 20), times.system_calls, steps));
  return 0;
}

int run(const Call& call) {
  static const std::vector<std::string> kWhat = {"ops", "step"};
  if (call.argument() == "ops") return bench_ops(call);
  if (call.argument() == "step") return bench_step(call);
  throw Error("expected {}, got '{}'{}", fmt::join(kWhat, " or "), call.argument(),
              did_you_mean(call.argument(), kWhat));
}

std::vector<Option> step_options() {
  return {set_option(),
          {.name = "steps", .value = "N", .says = "step: steps that are timed", .start = "10"},
          seed_option("", "step: in place of train.seed")};
}

std::vector<Option> all_options() {
  std::vector<Option> all = step_options();
  for (Option& option : bench_ops_options()) all.push_back(std::move(option));
  all.push_back(json_option());
  return all;
}

const Registered registered(
    {.name = "bench",
     .says = "times training steps and pooling operators",
     .arguments = {"step|ops", "[CONFIG]"},
     .options = all_options(),
     .details =
         "step: the whole training step beside its convolutions alone (oneDNN's direct ones), on made-up images.\n"
         "Without CONFIG: vgg16, width 1, 2x2 max pooling, batch 128, f32.\n"
         "ops: every pooling operator that shrinks a map by 2, in both layouts, beside a plain copy and oneDNN's own\n"
         "max and average. GB/s are of the bytes that must move: forward reads x and writes y; the backward reads dy\n"
         "and what the forward kept for it, and writes dx; parameters and their gradients count too.\n",
     .run = run});

}  // namespace
}  // namespace tidepool
