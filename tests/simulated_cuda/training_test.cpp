// Training on the simulated device: beside the CPU, twice, resumed, under failing calls and with parts left out, and
// what a steady step costs.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/allocator.h"
#include "core/safetensors.h"
#include "tests/scratch_folder.h"
#include "tests/simulated_cuda/control.h"
#include "train/run.h"
#include "train/step.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

const std::string kEager = "cuda_graph=false";
const std::string kMax = "model.pool.default.type=max", kSoft = "model.pool.default.type=soft",
                  kDynoPool = "model.pool.default.type=dynopool";

Config config(std::vector<std::string> sets) {
  return load_config_text(R"({
    "name": "test",
    "data": {"name": "procedural", "train_images": 80, "test_images": 16, "workers": 0},
    "model": {"name": "vgg16", "width": 0.0625, "pool": {"default": {"type": "max"}}},
    "optim": {"lr": 0.02, "grad_clip": 5, "ema": 0.9, "shape": {"lr": 0.05, "first_epoch": 0}},
    "train": {"epochs": 1, "batch": 8, "log_every": 4, "device": "cuda"}
  })",
                          "test", sets);
}

class CudaRun : public ScratchFolder {
 protected:
  RunResult train(const char* name, std::vector<std::string> sets, bool resume = false, int64_t stop_after = -1) {
    int64_t steps = 0;
    RunOptions o;
    o.out = folder_ / name;
    o.resume = resume;
    o.stop = [&] { return ++steps == stop_after; };
    return train_run(config(sets), o);
  }
  std::vector<double> losses(const char* name) const {
    std::vector<double> losses;
    std::ifstream in(folder_ / name / "log.jsonl");
    for (std::string line; std::getline(in, line);)
      if (const Json json = Json::parse(line); json.contains("loss")) losses.push_back(json.at("loss").get<double>());
    return losses;
  }
  void expect_same(const char* a, const char* b) const {
    const SafetensorsFile x = read_safetensors(folder_ / a / "last.safetensors"),
                          y = read_safetensors(folder_ / b / "last.safetensors");
    ASSERT_EQ(x.tensors.size(), y.tensors.size());
    for (const auto& [name, tensor] : x.tensors)
      EXPECT_EQ(std::memcmp(tensor.raw(), y.tensors.at(name).raw(),
                            static_cast<size_t>(tensor.numel()) * size_of(tensor.dtype())),
                0)
          << name;
    EXPECT_EQ(losses(a), losses(b));
  }
};

// Both sum in other orders, and the compilers contract multiply-adds differently: over ten steps the losses part by
// some 1e-4 in f32 (more in bf16, whose products the CPU sums in other runs). EfficientNet's rate is one at which its
// norms over few values do not multiply roundings from step to step.
TEST_F(CudaRun, TenStepsBesideTheCpu) {
  struct Case {
    const char* name;
    std::vector<std::string> sets;
    double tolerance;
  };
  const Case cases[] = {
      {"max", {kMax}, 2e-3},
      {"soft", {kSoft}, 2e-3},
      {"dynopool", {kDynoPool, "loss.gmacs_lambda=1"}, 5e-3},
      {"adamw", {kMax, "optim.name=adamw", "optim.lr=0.002"}, 5e-3},
      {"rmsprop", {kMax, "optim.name=rmsprop", "optim.lr=0.001"}, 2e-2},
      {"bf16", {kMax, "train.dtype=bf16"}, 6e-2},
      {"efficientnet", {"model.name=efficientnet_b0", "model.pool={}", "model.width=0.25", "optim.lr=0.002"}, 2e-4},
      {"shapes",
       {"task=segmentation", "data.name=shapes", "model.head=fcn", "train.batch=4", "train.max_steps=4"},
       2e-2},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    std::vector<std::string> on_cpu = c.sets;
    on_cpu.push_back("train.device=cpu");
    const std::string here = std::string(c.name) + "-cpu", there = std::string(c.name) + "-cuda";
    const RunResult cpu = train(here.c_str(), on_cpu), cuda = train(there.c_str(), c.sets);
    const std::vector<double> a = losses(here.c_str()), b = losses(there.c_str());
    ASSERT_EQ(a.size(), b.size());
    double worst = 0;
    for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]) / std::abs(a[i]));
    fmt::print("{}: {} steps, losses {:.4f} to {:.4f}, apart by at most {:.1e}\n", c.name, a.size(), a.front(),
               a.back(), worst);
    EXPECT_LE(worst, c.tolerance);
    EXPECT_EQ(cpu.shapes, cuda.shapes);
  }
}

// A step on a device leaves the bounds to the next one; the average is of what they hold.
TEST_F(CudaRun, TheAverageIsOfSizesWithinTheirBounds) {
  // Stopped, as an evaluation brings the average itself into the bounds.
  train(
      "a",
      {kDynoPool, "model.pool.default.r_max=1", "model.pool.default.r_min=0.25", "optim.shape.lr=1e5", "optim.ema=0.1"},
      false, 3);
  const SafetensorsFile file = read_safetensors(folder_ / "a" / "last.safetensors");
  double moved = 0;
  for (const char* slot : {"pool1", "pool2", "pool3", "pool4"})
    for (const double alpha : file.tensors.at(fmt::format("state/average/{}.alpha", slot)).values()) {
      EXPECT_GE(alpha, 1) << slot;
      EXPECT_LE(alpha, 4) << slot;
      moved = std::max(moved, std::abs(alpha - 2));
    }
  EXPECT_GT(moved, 0.1) << "a size has come to its bound";
}

TEST_F(CudaRun, TwiceTheSameBits) {
  simulated::set_seed(1);
  train("a", {kDynoPool});
  simulated::set_seed(2);
  train("b", {kDynoPool});
  expect_same("a", "b");
}

TEST_F(CudaRun, StoppedAndResumedEndsWithTheSameBits) {
  train("whole", {kDynoPool, "loss.gmacs_lambda=1"});
  EXPECT_FALSE(train("parts", {kDynoPool, "loss.gmacs_lambda=1"}, false, 3).finished);
  EXPECT_TRUE(train("parts", {kDynoPool, "loss.gmacs_lambda=1"}, true).finished);
  const SafetensorsFile x = read_safetensors(folder_ / "whole" / "last.safetensors"),
                        y = read_safetensors(folder_ / "parts" / "last.safetensors");
  for (const auto& [name, tensor] : x.tensors) EXPECT_EQ(tensor.values(), y.tensors.at(name).values()) << name;
}

TEST_F(CudaRun, ALossThatIsNotFiniteStopsTheUpdates) {
  std::string text;
  try {
    train("bad", {kMax, "optim.lr=1e30", "train.log_every=8"});
  } catch (const Failure& e) {
    text = e.what();
  }
  EXPECT_TRUE(text.starts_with("step ")) << text;
  EXPECT_NE(text.find("the loss is"), std::string::npos) << text;
}

// A network with all that trains it, on four batches.
class Trainer {
 public:
  explicit Trainer(std::vector<std::string> sets, int64_t images = 2)
      : config_(config(std::move(sets))),
        network_(make_run_network(config_)),
        task_(make_task(config_, *network_)),
        optimizer_(config_.optim, network_->parameters(), 10, 100),
        stepper_(*network_, *task_, optimizer_, config_.loss, 1) {
    Random random(5, 6);
    for (TensorBatch& batch : batches_) {
      batch.images = Tensor::empty({images, 3, 32, 32}, {.format = MemoryFormat::channels_last});
      for (int64_t i = 0; i < batch.images.numel(); ++i)
        batch.images.mutable_data<float>()[i] = static_cast<float>(random.normal());
      batch.labels = task_->random_labels(batch.images, random);
      batch.n = images;
    }
    for (const auto& [name, value] : network_->state()) state_.push_back(value);
    for (const auto& [name, value] : optimizer_.state()) state_.push_back(value);
    for (const Tensor& t : state_) start_.push_back(t.to(kCpu).clone());
  }

  StepLosses step() {
    const TensorBatch there = uploaded(upload_, batches_[static_cast<size_t>(step_ % 4)]);
    return stepper_.step(there, step_++);
  }
  /// As at the beginning.
  void restart() {
    for (size_t i = 0; i < state_.size(); ++i) state_[i].copy_from(start_[i]);
    step_ = 0;
  }
  /// Losses and every value of the state after some steps from the beginning, which run without a wait in between.
  std::vector<double> run(int64_t steps) {
    restart();
    std::vector<StepLosses> losses;
    for (int64_t i = 0; i < steps; ++i) losses.push_back(step());
    std::vector<double> values;
    for (const StepLosses& each : losses) values.push_back(each.pending.item());
    for (const Tensor& t : state_)
      for (const double v : t.values()) values.push_back(v);
    return values;
  }
  Stepper& stepper() { return stepper_; }
  const Network& network() const { return *network_; }

 private:
  Config config_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<Task> task_;
  Optimizer optimizer_;
  Stepper stepper_;
  Upload upload_{kCuda};
  TensorBatch batches_[4];
  std::vector<Tensor> state_, start_;
  int64_t step_ = 0;
};

bool same(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

// VGG-16 with clipping and a moving average of its weights.
TEST(CudaStep, ASteadyStepWaitsForNothingButTheBatchBeforeTheLast) {
  struct Case {
    const char* name;
    std::vector<std::string> sets;
    int64_t event_waits, launches, copies;
  };
  // Copies: of the batch; with learned sizes their tables, one per slot in both directions.
  Case cases[] = {{"max", {kMax}, 1, 150, 2}, {"soft", {kSoft}, 1, 150, 2}, {"dynopool", {kDynoPool}, 2, 170, 16}};
  for (Case& c : cases) {
    SCOPED_TRACE(c.name);
    c.sets.push_back(kEager);
    Trainer trainer(c.sets);
    std::vector<StepLosses> losses;
    for (int i = 0; i < 6; ++i) losses.push_back(trainer.step());
    losses.clear();
    simulated::reset_counts();
    losses.push_back(trainer.step());
    const simulated::Counts counts = simulated::counts();
    fmt::print("{}: {} launches, {} executions of libraries, {} copies, {} event waits of the host\n", c.name,
               counts.launches, counts.executions, counts.copies, counts.event_waits);
    EXPECT_EQ(counts.allocations, 0);
    EXPECT_EQ(counts.frees, 0);
    EXPECT_EQ(counts.synchronisations, 0);
    EXPECT_EQ(counts.pageable_copies, 0);
    EXPECT_LE(counts.event_waits, c.event_waits);
    EXPECT_LE(counts.launches + counts.executions, c.launches);
    EXPECT_LE(counts.copies, c.copies);
  }
}

// What kernels of a step must move where every one reads its inputs and writes its results once: a norm with its
// activation 8 times its map (moments: 1; values: 2; sums of the gradient: 2; gradient: 3), a pooling operator its map
// twice and its result twice (values; gradient) and what the gradient reads again: soft the map, max a byte a winner
// that the forward wrote; the optimizer 8 times the parameters (norm of the gradient: 1; update with momentum: 5;
// moving average: 2). cuDNN's convolutions move 6 maps more.
int64_t least_bytes(const Network& network, int64_t images) {
  int64_t values = 8 * network.trace().parameters(), before = 0;
  for (const TracedLayer& layer : network.trace().layers) {
    const int64_t map = images * layer.output.dims().product();
    if (layer.kind == "batch_norm") values += 8 * map;
    if (layer.kind == "soft") values += 3 * before + 2 * map;
    if (layer.kind == "max") values += 2 * before + 2 * map + 2 * map / 4;
    if (layer.kind == "global_avg") values += 2 * before;
    before = map;
  }
  return values * 4;
}

TEST(CudaStep, KernelsMoveLittleMoreThanTheyMust) {
  if (!simulated::count_traffic(true)) GTEST_SKIP() << "a sanitizer's build does not count bytes";
  for (const std::string& pool : {kMax, kSoft}) {
    SCOPED_TRACE(pool);
    constexpr int64_t kImages = 16;
    Trainer trainer({pool, "model.width=0.125", kEager}, kImages);
    for (int i = 0; i < 2; ++i) trainer.step();
    simulated::drain();
    simulated::reset_counts();
    trainer.step();
    simulated::drain();
    const simulated::Counts counts = simulated::counts();
    const int64_t moved = counts.bytes_read + counts.bytes_written, least = least_bytes(trainer.network(), kImages);
    fmt::print("{}: {:.2f} MB read, {:.2f} MB written: {:.3f} of the least, {:.2f} MB\n", pool,
               static_cast<double>(counts.bytes_read) / 1e6, static_cast<double>(counts.bytes_written) / 1e6,
               static_cast<double>(moved) / static_cast<double>(least), static_cast<double>(least) / 1e6);
    EXPECT_GE(moved, least * 95 / 100);
    EXPECT_LE(moved, least * 115 / 100);
  }
  simulated::count_traffic(false);
}

// What differs from step to step: the images, the rate, clipping, the masks of dropout and stochastic depth, the last
// batch of an epoch.
TEST(CudaStep, AReplayedStepGivesTheSameBits) {
  const std::vector<std::string> efficientnet{"model.name=efficientnet_b0", "model.pool={}", "model.width=0.25"};
  struct Case {
    const char* name;
    std::vector<std::string> sets;
    bool replayed;
  };
  Case cases[] = {{"max", {kMax}, true},
                  {"soft, bf16", {kSoft, "train.dtype=bf16"}, true},
                  {"efficientnet", efficientnet, true},
                  {"dynopool", {kDynoPool}, false},
                  {"stochastic", {"model.pool.default.type=stochastic"}, false}};
  for (Case& c : cases) {
    SCOPED_TRACE(c.name);
    std::vector<double> values[2];
    for (const bool replays : {false, true}) {
      std::vector<std::string> sets = c.sets;
      if (!replays) sets.push_back(kEager);
      Trainer trainer(sets);
      simulated::set_seed(replays ? 3 : 1);
      simulated::reset_counts();
      values[replays] = trainer.run(9);
      EXPECT_EQ(simulated::counts().replays, replays && c.replayed ? 2 * 7 : 0);
    }
    EXPECT_TRUE(same(values[0], values[1]));
  }
}

TEST_F(CudaRun, AReplayedRunGivesTheSameBits) {
  // A last batch of 4 images, evaluations and a checkpoint between the steps, and a resumed run that records anew.
  const std::vector<std::string> sets{kMax, "data.train_images=44", "train.epochs=6"};
  std::vector<std::string> eager = sets;
  eager.push_back(kEager);
  train("eager", eager);
  simulated::reset_counts();
  train("replayed", sets);
  EXPECT_EQ(simulated::counts().replays, 2 * (36 - 4));
  expect_same("eager", "replayed");
  train("parts", sets, false, 17);
  train("parts", sets, true);
  const SafetensorsFile x = read_safetensors(folder_ / "eager" / "last.safetensors"),
                        y = read_safetensors(folder_ / "parts" / "last.safetensors");
  for (const auto& [name, tensor] : x.tensors) EXPECT_EQ(tensor.values(), y.tensors.at(name).values()) << name;
}

TEST(CudaStep, AReplayedStepCostsTheHostLittle) {
  for (const std::vector<std::string>& sets :
       {std::vector<std::string>{kMax}, {"model.name=efficientnet_b0", "model.pool={}", "model.width=0.25"}}) {
    Trainer trainer(sets);
    const auto reserved = [] { return Allocator::of(kCuda).stats().reserved_bytes; };
    trainer.step();
    trainer.step();
    const size_t before = reserved();
    for (int i = 0; i < 4; ++i) trainer.step();
    EXPECT_LE(reserved(), before + (size_t{32} << 20))
        << "a step's memory is held twice";  // a segment of the allocator
    simulated::reset_counts();
    trainer.step();
    const simulated::Counts& counts = simulated::counts();
    fmt::print("{} launches, {} executions of libraries, {} replays, {} copies\n", counts.launches, counts.executions,
               counts.replays, counts.copies);
    EXPECT_EQ(counts.replays, 2);
    EXPECT_EQ(counts.recorded, 0);
    EXPECT_LE(counts.launches + counts.executions, 20);
    EXPECT_EQ(counts.allocations + counts.frees + counts.synchronisations + counts.pageable_copies, 0);
    EXPECT_LE(counts.event_waits, 1);
  }
}

// The step that is recorded runs as it is when it cannot be.
TEST(CudaStep, WhatCannotBeRecordedRunsAsItIs) {
  std::vector<double> expected;
  int64_t calls = 0;
  {
    Trainer trainer({kMax});
    expected = trainer.run(4);
    trainer.restart();
  }
  {
    Trainer trainer({kMax});
    trainer.step();
    trainer.step();
    simulated::drain();
    simulated::reset_counts();
    trainer.step();
    calls = simulated::counts().calls;
    EXPECT_GT(simulated::counts().recorded, 100);
  }
  int64_t thrown = 0, swallowed = 0;
  for (int64_t n = 1; n <= calls; n += 7) {
    Trainer trainer({kMax});
    trainer.step();
    trainer.step();
    simulated::drain();
    simulated::fail_call(n);
    try {
      trainer.step();
      ++swallowed;  // recording failed: the log says so
    } catch (const Failure&) {
      ++thrown;  // of the step itself
    }
    simulated::fail_call(0);
    ASSERT_TRUE(same(trainer.run(4), expected)) << "call " << n;
  }
  fmt::print("{} calls of a recorded step: {} failures were thrown, {} let the step run as it is\n", calls, thrown,
             swallowed);
  EXPECT_GT(thrown, 0);
  EXPECT_GT(swallowed, 10);
}

// The time in which a step is put into the streams, of a device whose calls return at once: that of a GPU must hide it.
TEST(CudaStep, TheHostIsFasterThanAGpu) {
  for (const auto& [name, set, more] : {std::tuple("max", kMax, kEager), std::tuple("max, replayed", kMax, kMax),
                                        std::tuple("dynopool", kDynoPool, kDynoPool)}) {
    Trainer trainer({set, more, "optim.shape.lr=0"});
    for (int i = 0; i < 6; ++i) trainer.step();
    std::vector<double> seconds;
    for (int i = 0; i < 9; ++i) {
      simulated::drain();  // so that no wait of the step is for work of the one before
      simulated::reset_counts();
      const auto begin = std::chrono::steady_clock::now();
      trainer.step();
      const std::chrono::duration<double> all = std::chrono::steady_clock::now() - begin;
      seconds.push_back(all.count() - simulated::counts().seconds);
    }
    std::nth_element(seconds.begin(), seconds.begin() + 4, seconds.end());
    fmt::print("{}: {:.2f} ms of the host a step (median)\n", name, 1e3 * seconds[4]);
    EXPECT_LT(seconds[4], 5e-3);  // 0.6 ms is what it should be; other programs may run beside
  }
}

TEST(CudaStep, EveryCallMayFail) {
  Trainer trainer({kDynoPool});
  trainer.run(2);  // both of the batches in flight have their memory
  const std::vector<double> expected = trainer.run(1);
  const size_t live = Allocator::of(kCuda).stats().live_bytes;
  int64_t failures = 0;
  for (int64_t n = 1;; ++n) {
    trainer.restart();
    simulated::drain();
    simulated::fail_call(n);
    bool thrown = false;
    try {
      trainer.step();
    } catch (const Failure& e) {
      thrown = true;
      const std::string text = e.what();
      const auto says = [&](const char* whose) { return text.find(whose) != std::string::npos; };
      EXPECT_TRUE(says("CUDA: ") || says("cuDNN: ") || says("cublasLt: ")) << text;
    }
    const bool failed = simulated::has_failed();
    simulated::fail_call(0);
    if (!failed) break;
    EXPECT_TRUE(thrown) << "call " << n << " failed and nobody said so";
    ++failures;
    // A few of the steps behind it, for time: each is the same code.
    if (n % 16 != 1) continue;
    EXPECT_TRUE(same(trainer.run(1), expected)) << "the step after the failure of call " << n;
  }
  EXPECT_TRUE(same(trainer.run(1), expected));
  EXPECT_LE(Allocator::of(kCuda).stats().live_bytes, live) << "something leaks";
  fmt::print("{} calls of a step failed, one after the other\n", failures);
  EXPECT_GT(failures, 100);
}

// What is left out shows under one of some seeds.
void expect_caught(simulated::Act act, int64_t n, const std::function<std::vector<double>()>& run,
                   const std::vector<double>& expected, const char* what) {
  bool caught = false;
  for (uint32_t seed = 1; seed <= 12 && !caught; ++seed) {
    simulated::drain();
    simulated::set_seed(seed);
    simulated::reset_counts();
    simulated::leave_out(act, n);
    try {
      caught = !same(run(), expected);
    } catch (const std::exception&) {
      caught = true;
    }
    simulated::leave_out(act, -1);
  }
  EXPECT_TRUE(caught) << what << " " << n << " was left out, and nothing shows it";
}

TEST(CudaStep, LeftOutWaitsCopiesAndBarriersShow) {
  Trainer trainer({kMax, kEager});  // learned sizes would have the host wait for each update
  const auto run = [&] { return trainer.run(4); };
  const std::vector<double> expected = run();
  simulated::reset_counts();
  EXPECT_TRUE(same(run(), expected));
  const int64_t waits = simulated::count_of(simulated::Act::stream_wait);
  EXPECT_GE(waits, 8);
  // The first upload waits for memory that nobody uses yet.
  for (int64_t n = 0; n < waits; ++n) {
    if (n % 2 == 0 && n < 4) continue;
    expect_caught(simulated::Act::stream_wait, n, run, expected, "stream wait");
  }
  for (int64_t place = 0; place < simulated::count_of(simulated::Act::barrier); ++place)
    expect_caught(simulated::Act::barrier, place, run, expected, "barrier");
}

}  // namespace
}  // namespace tidepool
