#include "tools/bench_step.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "core/allocator.h"
#include "core/backend/copy.h"
#include "core/cpu/onednn_bench.h"
#include "core/cpu/winograd/convolve.h"
#include "core/multiply_adds.h"
#include "core/philox.h"
#include "layers/pool/prepared.h"
#include "tools/machine.h"
#include "tools/run_config.h"
#include "tools/work_timer.h"
#include "train/step.h"

namespace tidepool {
namespace {

std::vector<TracedLayer> convolution_layers(const Network& network) {
  std::vector<TracedLayer> layers;
  for (const TracedLayer& layer : network.trace().layers)
    if (layer.convolution) layers.push_back(layer);
  return layers;
}

std::vector<ConvCase> cases_of(const std::vector<TracedLayer>& layers, int64_t batch) {
  std::vector<ConvCase> cases;
  for (const TracedLayer& layer : layers) {
    ConvCase one{.x = layer.convolution->input,
                 .weight = layer.convolution->weight,
                 .options = layer.convolution->options,
                 .needs_dx = !cases.empty()};
    one.x[0] = batch;
    cases.push_back(one);
  }
  return cases;
}

// m of F(m x m, 3x3) for all; 0: as a network runs them.
enum class By : int { rule = 0, f2 = 2, f4 = 4 };

// Our own convolutions, each on maps of its own. A case that F(m) does not serve runs as in a network. Weights count as
// new each time, as in training.
std::vector<ConvKernels> own_convolutions(const std::vector<ConvCase>& cases, DType dtype, By by) {
  std::vector<ConvKernels> kernels;
  for (const ConvCase& c : cases) {
    const TensorOptions map{dtype, MemoryFormat::channels_last, kCpu};
    const Tensor x = made_up_map(c.x, map, 1), w = made_up_map(c.weight, {}, 2), y = Tensor::empty(c.y(), map),
                 dy = made_up_map(c.y(), map, 3), dw = Tensor::empty(c.weight);
    const Tensor dx = c.needs_dx ? Tensor::empty(c.x, map) : Tensor{};
    const ConvOptions o = c.options;
    const int m = by != By::rule && winograd::serves(x, w, o) ? static_cast<int>(by) : 0;
    ConvKernels k;
    k.forward = [=] { m ? winograd::conv_forward(m, x, w, {}, o, y) : conv_forward(x, w, {}, o, y); };
    k.backward_weights = [=] {
      m ? winograd::conv_backward_weights(m, x, dy, o, dw, {}) : conv_backward_weights(x, dy, o, dw, {});
    };
    if (c.needs_dx)
      k.backward_data = [=] { m ? winograd::conv_backward_data(m, dy, w, o, dx) : conv_backward_data(dy, w, o, dx); };
    kernels.push_back(std::move(k));
  }
  return kernels;
}

// Seconds of each convolution: forward, backward data, backward weights.
using ConvSeconds = std::array<double, 3>;

// All forwards in order, then the backwards in reverse order, as in a training step.
std::vector<ConvSeconds> sweep(const std::vector<ConvKernels>& kernels) {
  std::vector<ConvSeconds> seconds(kernels.size(), ConvSeconds{});
  const auto timed = [](double& to, const std::function<void()>& f) {
    if (!f) return;
    const auto begin = Clock::now();
    f();
    to = seconds_between(begin, Clock::now());
  };
  for (size_t i = 0; i < kernels.size(); ++i) timed(seconds[i][0], kernels[i].forward);
  for (size_t i = kernels.size(); i-- > 0;) {
    timed(seconds[i][1], kernels[i].backward_data);
    timed(seconds[i][2], kernels[i].backward_weights);
  }
  return seconds;
}

double total(const std::vector<ConvSeconds>& sweep) {
  double sum = 0;
  for (const ConvSeconds& s : sweep) sum += s[0] + s[1] + s[2];
  return sum;
}

DType bench_dtype(const Call& call, const Network& network) {
  if (network.options().dtype == DType::f64)
    throw Error("bench {}: train.dtype: expected f32 or bf16, got f64", call.argument());
  return network.options().dtype;
}

struct StepTimes {
  double training = 0, evaluation = 0, own = 0;  // seconds per step, medians
  std::optional<double> direct;                  // likewise; none where oneDNN has no such convolutions
  double slowest = 0;                            // 99th percentile of the training steps
  size_t peak_bytes = 0;                         // of tensors and scratch memory, weights included
  int64_t resident_bytes = 0;                    // the rise of the process above its size with the network alone
  uint64_t system_calls = 0;                     // of the allocator, in the timed steps
  double gmacs = 0;                              // of an image
};

// Steps whose maps change their sizes every time.
struct ChangingTimes {
  std::vector<double> seconds;
  double gmacs = 0;  // mean of an image
  uint64_t system_calls = 0;

  double slowest() const { return percentile(seconds, 99); }
  double mean() const {
    return std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(seconds.size());
  }
};

// Shape parameters wander within a fifth of where they stand, all in their own way, as a function of the step. `least`:
// all are as small as they get, and maps as large.
void change_shapes(const Network& network, const std::vector<std::vector<double>>& start, int64_t step,
                   bool least = false) {
  size_t i = 0;
  for (const Parameter& p : network.parameters()) {
    if (p.kind != ParameterKind::shape) continue;
    for (int64_t k = 0; k < p.value.numel(); ++k) {
      const double u =
          uniform24(static_cast<uint32_t>(step * 7919 + static_cast<int64_t>(i) * 104729 + k) * 0x9E3779B1u);
      p.value.slice(0, k, 1).fill(start[i][static_cast<size_t>(k)] * (least ? 0.8 : 0.8 + 0.4 * u));
    }
    ++i;
  }
}

// None when the network has no shape parameters.
std::optional<ChangingTimes> time_changing_steps(const Config& config, Network& network, int64_t steps) {
  std::vector<std::vector<double>> start;
  for (const Parameter& p : network.parameters())
    if (p.kind == ParameterKind::shape) start.push_back(p.value.values());
  if (start.empty()) return std::nullopt;
  const auto task = make_task(config, network);
  Optimizer optimizer(config.optim, network.parameters(), 1 << 20, 1 << 20);
  Stepper stepper(network, *task, optimizer, config.loss, config.train.seed);
  const TensorBatch batch = made_up_batch(config, network, *task, config.train.batch);
  ChangingTimes times;
  const int64_t warmup = steps;  // the largest maps, and others: what is larger than ever needs memory
  for (int64_t i = -warmup; i < steps; ++i) {
    change_shapes(network, start, i, i == -warmup);
    const uint64_t calls = Allocator::of(network.options().device).stats().system_calls;
    const auto begin = Clock::now();
    const StepLosses losses = waited_step(stepper, batch, i + warmup);
    const double seconds = seconds_between(begin, Clock::now());
    if (i < 0) continue;
    times.seconds.push_back(seconds);
    times.gmacs += losses.gmacs / static_cast<double>(steps);
    times.system_calls += Allocator::of(network.options().device).stats().system_calls - calls;
  }
  change_shapes(network, start, 0);
  return times;
}

// Everything in turn, step after step, so that a machine that slows down for a while slows all of it.
StepTimes time_steps(const Config& config, Network& network, int64_t steps, WorkTimer& timer) {
  const DType dtype = network.options().dtype;
  const int64_t batch_size = config.train.batch;
  const int64_t before = resident_bytes();  // the optimizer's state is the step's, as in tools/bench_pytorch.py
  const auto task = make_task(config, network);
  Optimizer optimizer(config.optim, network.parameters(), 1 << 20, 1 << 20);
  Stepper stepper(network, *task, optimizer, config.loss, config.train.seed);
  const TensorBatch batch = made_up_batch(config, network, *task, batch_size);
  constexpr int64_t kWarmup = 4;  // until the allocator has what a step needs
  int64_t step = 0;
  StepTimes times;
  for (; step < kWarmup; ++step) times.gmacs = waited_step(stepper, batch, step).gmacs;
  Allocator::of(network.options().device).reset_peak();
  waited_step(stepper, batch, step++);
  times.peak_bytes = Allocator::of(network.options().device).stats().peak_bytes;
  times.resident_bytes = largest_resident_bytes() - before;

  const auto cases = cases_of(convolution_layers(network), batch_size);
  const auto direct = onednn_convolutions(cases, dtype, MemoryFormat::channels_last);
  const auto own = own_convolutions(cases, dtype, By::rule);
  std::vector<double> training, evaluation, own_seconds, direct_seconds;
  for (int64_t i = -2; i < steps; ++i) {  // the first turns do not count
    const double d = direct ? total(sweep(*direct)) : 0, o = total(sweep(own));
    const uint64_t calls_before = Allocator::of(network.options().device).stats().system_calls;
    const auto begin = Clock::now();
    waited_step(stepper, batch, step++);
    const auto stepped = Clock::now();
    const uint64_t calls = Allocator::of(network.options().device).stats().system_calls - calls_before;
    // As in the evaluation of a data set, whose batches all meet the same weights; the first two may prepare them.
    for (int k = 0; k < 2; ++k) on_host(network.forward(batch.images, {.training = false}));
    const auto prepared = Clock::now();
    on_host(network.forward(batch.images, {.training = false}));
    const auto end = Clock::now();
    if (i < 0) continue;
    times.system_calls += calls;
    direct_seconds.push_back(d);
    own_seconds.push_back(o);
    training.push_back(seconds_between(begin, stepped));
    evaluation.push_back(seconds_between(prepared, end));
  }
  if (direct) times.direct = median(direct_seconds);
  times.own = median(own_seconds);
  times.evaluation = median(evaluation);
  times.training = median(training);
  times.slowest = percentile(training, 99);

  for (int64_t i = 0; i < steps; ++i) {  // apart, so that watching costs the others nothing
    const Observer::Scope watching(&timer);
    timer.restart();
    waited_step(stepper, batch, step++);
  }
  return times;
}

}  // namespace

std::vector<Option> bench_step_options() {
  return {
      set_option(),
      {.name = "steps", .value = "N", .help = "step, conv, data: how often everything is timed", .default_value = "10"},
      {.name = "beside",
       .help = "step: only training and evaluation, alone and beside a second copy of this process that trains"},
      {.name = "copy", .help = "step: be that copy: train without end, writing a byte to stdout after each step"},
      seed_option("", "step: overrides train.seed")};
}

int bench_step(const Call& call) {
  const Config config = config_of(call, 1, "cifar100_vgg16.json");
  const auto network = make_run_network(config);
  const DType dtype = bench_dtype(call, *network);
  const int64_t steps = call.integer("steps", 1, 1000);
  WorkTimer timer;
  const StepTimes times = time_steps(config, *network, steps, timer);
  const double copy = copy_bandwidth({32, 64, 64, 64}, DType::f32, 5), rate = multiply_add_rate(3);
  const std::optional<ChangingTimes> changing = time_changing_steps(config, *network, steps);
  const auto images = static_cast<double>(config.train.batch);
  const double training = images / times.training, own = images / times.own;
  const double direct = times.direct ? images / *times.direct : 0;

  const auto per_gmac = [&](double seconds, double gmacs) { return 1e3 * seconds / images / gmacs; };
  const double fixed_cost = per_gmac(times.training, times.gmacs);
  Json of_changing;
  if (changing)
    of_changing = {{"milliseconds", 1e3 * changing->mean()},
                   {"milliseconds_p99", 1e3 * changing->slowest()},
                   {"milliseconds_per_image_and_gmac", per_gmac(changing->mean(), changing->gmacs)},
                   {"system_allocations", changing->system_calls}};
  if (call.json()) {
    print_json({{"name", config.name},
                {"batch", config.train.batch},
                {"dtype", config.train.dtype},
                {"threads", cpu_threads()},
                {"images_per_second", training},
                {"evaluation_images_per_second", images / times.evaluation},
                {"convolutions_images_per_second", own},
                {"direct_images_per_second", times.direct ? Json(direct) : Json(nullptr)},
                {"share", training / own},
                {"peak_bytes", times.peak_bytes},
                {"resident_bytes", times.resident_bytes},
                {"system_allocations", times.system_calls},
                {"milliseconds", 1e3 * times.training},
                {"milliseconds_p99", 1e3 * times.slowest},
                {"milliseconds_per_image_and_gmac", fixed_cost},
                {"changing", of_changing},
                {"kinds", timer.kinds(steps)},
                {"work", timer.work(steps)},
                {"machine", {{"copy_gbps", 1e-9 * copy}, {"gflops", 2e-9 * rate}}}});
    return 0;
  }
  print(timer.table(steps));
  print(fmt::format(
      "training {:.1f} images/s: {:.2f} of the same convolutions alone ({:.1f}), {}\n"
      "evaluation {:.1f} images/s; peak {:.1f} MiB (the process rose by {:.1f}); {} allocations from the system in {} "
      "steps of {}\n"
      "this machine: {:.1f} GB/s in a copy (read and write), {:.0f} GFLOP/s of f32 multiply-adds on {} threads\n",
      training, training / own, own,
      times.direct ? fmt::format("{:.2f} times oneDNN's direct ones ({:.1f})", training / direct, direct)
                   : fmt::format("which oneDNN has not in {} here", name_of(dtype)),
      images / times.evaluation, static_cast<double>(times.peak_bytes) / (1 << 20),
      static_cast<double>(times.resident_bytes) / (1 << 20), times.system_calls, steps, name_of(dtype), 1e-9 * copy,
      2e-9 * rate, cpu_threads()));
  if (changing)
    print(
        fmt::format("with sizes that change every step: {:.1f} ms in the mean, {:.1f} ms at the 99th percentile; "
                    "{:.2f} times the fixed\n"
                    "sizes' time for the same multiply-adds; {} allocations from the system\n",
                    1e3 * changing->mean(), 1e3 * changing->slowest(),
                    per_gmac(changing->mean(), changing->gmacs) / fixed_cost, changing->system_calls));
  return 0;
}

int bench_conv(const Call& call) {
  const Config config = config_of(call, 1, "cifar100_vgg16.json");
  const auto network = make_run_network(config);
  const DType dtype = bench_dtype(call, *network);
  const int64_t steps = call.integer("steps", 1, 1000);
  const auto layers = convolution_layers(*network);
  const auto cases = cases_of(layers, config.train.batch);
  struct Contestant {
    const char* name;
    std::vector<ConvKernels> kernels;
    std::vector<std::vector<ConvSeconds>> sweeps;
  };
  // The library with its weights as they lie in a network, reorders included: that is what the rule chooses between.
  std::vector<Contestant> all;
  std::vector<ConvCase> exact = cases;
  for (ConvCase& c : exact) c.options.exact = true;
  all.push_back({"direct", own_convolutions(exact, dtype, By::rule), {}});
  all.push_back({"F(2x2)", own_convolutions(cases, dtype, By::f2), {}});
  all.push_back({"F(4x4)", own_convolutions(cases, dtype, By::f4), {}});
  for (int64_t i = -1; i < steps; ++i)
    for (Contestant& c : all) {
      auto seconds = sweep(c.kernels);
      if (i >= 0) c.sweeps.push_back(std::move(seconds));
    }
  constexpr double kWrong = 1.10;  // the rule is wrong when the best is faster by more
  static const char* const kDirections[] = {"forward", "backward data", "backward weights"};
  Json json = Json::array();
  std::vector<std::vector<std::string>> rows;
  int wrong = 0, contests = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    const Tensor like = Tensor::empty(cases[i].x, {dtype, MemoryFormat::channels_last, kCpu});
    const bool served = winograd::serves(like, Tensor::empty(cases[i].weight), cases[i].options);
    const int m = served && !cases[i].options.exact ? winograd_size(cases[i].x, cases[i].weight, cases[i].options) : 0;
    const size_t chosen = m == 4 ? 2 : m == 2 ? 1 : 0;
    for (size_t d = 0; d < 3; ++d) {
      if (d == 1 && !cases[i].needs_dx) continue;
      double seconds[3];
      for (size_t k = 0; k < 3; ++k) {
        std::vector<double> times;
        for (const auto& s : all[k].sweeps) times.push_back(s[i][d]);
        seconds[k] = served || k == 0 ? median(times) : 0;
      }
      const size_t best = served ? static_cast<size_t>(std::min_element(seconds, seconds + 3) - seconds) : 0;
      const double lost = seconds[chosen] / seconds[best];
      wrong += lost > kWrong;
      ++contests;
      const auto ms = [&](size_t k) { return served || k == 0 ? fmt::format("{:.2f}", 1e3 * seconds[k]) : "-"; };
      rows.push_back({layers[i].name, Dims(std::span(cases[i].x.begin() + 1, 3)).str(),
                      std::to_string(cases[i].weight[0]), kDirections[d], ms(0), ms(1), ms(2), all[chosen].name,
                      lost > kWrong ? fmt::format("{:.0f}% slower than {}", 100 * (lost - 1), all[best].name) : ""});
      json.push_back({{"layer", layers[i].name},
                      {"direction", kDirections[d]},
                      {"direct_ms", 1e3 * seconds[0]},
                      {"f2_ms", served ? Json(1e3 * seconds[1]) : Json()},
                      {"f4_ms", served ? Json(1e3 * seconds[2]) : Json()},
                      {"chosen", all[chosen].name},
                      {"best", all[best].name},
                      {"lost", lost - 1}});
    }
  }
  if (call.json()) {
    print_json(json);
    return 0;
  }
  print(text_table({"layer", "input", "channels", "direction", "direct ms", "F(2x2) ms", "F(4x4) ms", "rule", "wrong"},
                   rows, {.minor = {"F(2x2) ms", "input", "channels"}}));
  print(fmt::format("batch {}, {}, {} threads; the rule lost more than 10% in {} of {} contests\n", config.train.batch,
                    config.train.dtype, cpu_threads(), wrong, contests));
  return 0;
}

}  // namespace tidepool
