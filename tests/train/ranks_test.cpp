// Ranks that share every batch: parts of it, sums of gradients, and whole runs, as threads of this process.
#include <gtest/gtest.h>

#include <barrier>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "core/safetensors.h"
#include "tests/scratch_folder.h"
#include "train/run.h"
#include "train/run_directory.h"
#include "train/step.h"

namespace tidepool {
namespace {

namespace fs = std::filesystem;

// Threads that meet: every rank puts its tensors down, each reads those of all, in their order.
class Meeting {
 public:
  explicit Meeting(int64_t ranks) : down_(static_cast<size_t>(ranks)), all_(ranks) {}

  class Rank final : public Communicator {
   public:
    Rank(Meeting& meeting, int64_t rank) : meeting_(meeting), rank_(rank) {}
    int64_t rank() const override { return rank_; }
    int64_t ranks() const override { return static_cast<int64_t>(meeting_.down_.size()); }
    void all_reduce(std::span<const Tensor> tensors) override {
      sizes.push_back(tensors.size());
      meeting_.down_[static_cast<size_t>(rank_)] = tensors;
      meeting_.all_.arrive_and_wait();
      std::vector<std::vector<double>> sums;
      for (size_t i = 0; i < tensors.size(); ++i) {
        sums.push_back(meeting_.down_[0][i].values());
        for (size_t r = 1; r < meeting_.down_.size(); ++r) {
          const std::vector<double> more = meeting_.down_[r][i].values();
          for (size_t k = 0; k < more.size(); ++k) sums[i][k] += more[k];
        }
      }
      meeting_.all_.arrive_and_wait();
      for (size_t i = 0; i < tensors.size(); ++i)
        tensors[i].copy_from(Tensor::from<double>(std::span<const double>(sums[i]), tensors[i].shape()));
    }
    void wait() override { ++waits; }

    std::vector<size_t> sizes;  // of the calls
    int64_t waits = 0;

   private:
    Meeting& meeting_;
    int64_t rank_;
  };

  // Runs a body in each rank; throws what rank 0 threw, or another.
  static void run(int64_t ranks, const std::function<void(Rank&)>& body) {
    Meeting meeting(ranks);
    std::vector<std::exception_ptr> problems(static_cast<size_t>(ranks));
    std::vector<std::thread> threads;
    for (int64_t r = 0; r < ranks; ++r)
      threads.emplace_back([&, r] {
        Rank rank(meeting, r);
        try {
          body(rank);
        } catch (...) {
          problems[static_cast<size_t>(r)] = std::current_exception();
        }
        meeting.all_.arrive_and_drop();
      });
    for (std::thread& each : threads) each.join();
    for (const std::exception_ptr& problem : problems)
      if (problem) std::rethrow_exception(problem);
  }

 private:
  std::vector<std::span<const Tensor>> down_;
  std::barrier<> all_;
};

Config config(const std::vector<std::string>& sets = {}) {
  return load_config_text(R"({
    "name": "test",
    "data": {"name": "procedural", "train_images": 44, "test_images": 16, "workers": 0},
    "model": {"name": "vgg16", "width": 0.0625, "pool": {"default": {"type": "dynopool"}}},
    "loss": {"gmacs_lambda": 1},
    "optim": {"lr": 0.02, "grad_clip": 5, "shape": {"lr": 0.05, "first_epoch": 0}},
    "train": {"epochs": 2, "batch": 16, "log_every": 2}
  })",
                          "test", sets);
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.contiguous(MemoryFormat::plain).raw(), b.contiguous(MemoryFormat::plain).raw(),
                     static_cast<size_t>(a.numel()) * size_of(a.dtype())) == 0;
}

// What a step computes before its update.
struct Computed {
  StepLosses losses;
  std::vector<Tensor> gradients;  // of the parameters
  std::vector<size_t> calls;      // of all_reduce: how many tensors
};

// The first step of a network on the part of a batch that a loader gives a rank of several, with the sums over `ranks`.
Computed first_step(const Config& c, Communicator* ranks, int64_t part, int64_t parts) {
  const std::unique_ptr<Network> network = make_run_network(c);
  const std::unique_ptr<Task> task = make_task(c, *network);
  const RunData data = open_data(c.data, {});
  LoaderOptions options = loader_options(c, true);
  options.rank = part;
  options.ranks = parts;
  Loader loader(data.train, data.normalisation, options);
  Optimizer optimizer(c.optim, network->parameters(), loader.batches(), loader.batches());
  Stepper stepper(*network, *task, optimizer, c.loss, c.train.seed, ranks);
  loader.start_epoch(0);
  TensorBatch batch;
  EXPECT_TRUE(loader.next(batch));
  Computed computed;
  computed.losses = stepper.gradients(batch, 0);
  for (const Parameter& p : network->parameters())
    computed.gradients.push_back(p.value.grad() ? p.value.grad().clone() : Tensor());
  return computed;
}

TEST(Ranks, PartsOfABatchAreTheWholeOne) {
  const Config c = config({"data.train_images=20", "train.batch=8"});
  const RunData data = open_data(c.data, {});
  const auto epoch = [&](int64_t rank, int64_t ranks) {
    LoaderOptions options = loader_options(c, true);
    options.rank = rank;
    options.ranks = ranks;
    Loader loader(data.train, data.normalisation, options);
    loader.start_epoch(1);
    std::vector<TensorBatch> batches;
    for (TensorBatch batch; loader.next(batch); batch = {}) batches.push_back(batch);
    return batches;
  };
  const auto whole = epoch(0, 1), first = epoch(0, 3), second = epoch(1, 3), third = epoch(2, 3);
  ASSERT_EQ(whole.size(), 3u);
  ASSERT_EQ(third.size(), 3u);
  for (size_t k = 0; k < whole.size(); ++k) {
    EXPECT_EQ(whole[k].share, 1);
    std::vector<int64_t> indices;
    double share = 0;
    for (const TensorBatch* part : {&first[k], &second[k], &third[k]}) {
      const auto at = static_cast<int64_t>(indices.size());
      EXPECT_TRUE(same_bits(part->images, whole[k].images.slice(0, at, part->n).clone()));
      indices.insert(indices.end(), part->indices.begin(), part->indices.end());
      EXPECT_DOUBLE_EQ(part->share, static_cast<double>(part->n) / static_cast<double>(whole[k].n));
      share += part->share;
    }
    EXPECT_EQ(indices, whole[k].indices);
    EXPECT_NEAR(share, 1, 1e-15);
  }
}

// The mean over a batch is that of its parts, by their shares; what does not come from the images is not summed.
TEST(Ranks, GradientsAreThoseOfAllParts) {
  for (const char* images : {"data.train_images=16", "data.train_images=13"}) {  // parts of 8 and 8, of 6 and 7
    const Config c = config({images, "train.batch=16", "train.dtype=f64"});
    const Computed a = first_step(c, nullptr, 0, 2), b = first_step(c, nullptr, 1, 2);
    const double of_a = images == std::string("data.train_images=16") ? 8.0 / 16 : 6.0 / 13, of_b = 1 - of_a;
    const Computed no_cost =
        first_step(config({images, "train.batch=16", "train.dtype=f64", "loss.gmacs_lambda=0"}), nullptr, 0, 2);
    Computed both[2];
    Meeting::run(2, [&](Meeting::Rank& rank) {
      both[rank.rank()] = first_step(c, &rank, rank.rank(), 2);
      both[rank.rank()].calls = rank.sizes;
      EXPECT_EQ(rank.waits, 2);  // for the loss, for the gradients
    });
    EXPECT_EQ(both[0].calls, both[1].calls);
    EXPECT_EQ(both[0].losses.total, both[1].losses.total);
    EXPECT_NEAR(both[0].losses.task, of_a * a.losses.task + of_b * b.losses.task, 1e-12);
    for (size_t p = 0; p < a.gradients.size(); ++p) {
      ASSERT_TRUE(same_bits(both[0].gradients[p], both[1].gradients[p]));
      const auto mine = a.gradients[p].values(), yours = b.gradients[p].values(), sum = both[0].gradients[p].values(),
                 task = no_cost.gradients[p].values();
      for (size_t i = 0; i < sum.size(); ++i) {
        const double cost = mine[i] - task[i];  // the same in every rank
        EXPECT_NEAR(sum[i], of_a * (mine[i] - cost) + of_b * (yours[i] - cost) + cost, 1e-12);
      }
    }
  }
}

TEST(Ranks, BucketsAreSentWhileTheBackwardGoesOn) {
  const Config c = config();
  Meeting::run(1, [&](Meeting::Rank& rank) {
    const std::unique_ptr<Network> network = make_run_network(c);
    const std::vector<Parameter>& parameters = network->parameters();
    constexpr size_t kBytes = 8192;
    GradientBuckets buckets(parameters, rank, kBytes);
    ASSERT_GT(buckets.buckets(), 3u);
    size_t before_last = 0, left = parameters.size();
    for (auto p = parameters.rbegin(); p != parameters.rend(); ++p) {
      p->value.set_grad(Tensor::full(p->value.shape(), 1, p->value.options()));
      if (--left == 0) before_last = rank.sizes.size();
      buckets.ready(p->value);
    }
    EXPECT_EQ(before_last, buckets.buckets() - 1) << "all but the one of the last gradient";
    buckets.finish();
    EXPECT_EQ(rank.sizes.size(), buckets.buckets());
    size_t tensors = 0;
    for (const size_t n : rank.sizes) tensors += n;
    EXPECT_EQ(tensors, parameters.size());
    EXPECT_EQ(rank.waits, 1);

    // Out of order, and one is never ready: all go, in the order of the buckets.
    rank.sizes.clear();
    buckets.ready(parameters.front().value);
    EXPECT_TRUE(rank.sizes.empty());
    buckets.finish();
    EXPECT_EQ(rank.sizes.size(), buckets.buckets());
  });
}

TEST(Ranks, AGradientThatSharesItsMemoryIsCopiedFirst) {
  Meeting::run(1, [&](Meeting::Rank& rank) {
    std::vector<Parameter> two(2);
    const Tensor shared = Tensor::full({3}, 2);
    for (Parameter& p : two) {
      p.value = Tensor::zeros({3});
      p.value.set_requires_grad();
      p.value.set_grad(shared);
    }
    GradientBuckets buckets(two, rank);
    for (const Parameter& p : two) buckets.ready(p.value);
    buckets.finish();
    EXPECT_FALSE(two[0].value.grad().shares_storage(two[1].value.grad()));
    EXPECT_FALSE(two[0].value.grad().shares_storage(shared));
  });
}

class RankRuns : public ScratchFolder {
 protected:
  // What the ranks of a run return; `stop`: asked of each.
  std::vector<RunResult> train(const char* name, const Config& c, bool resume = false,
                               const std::function<bool(int64_t rank)>& stop = {}) {
    std::vector<RunResult> results(2);
    Meeting::run(2, [&](Meeting::Rank& rank) {
      RunOptions o;
      o.out = out(name, rank.rank());
      o.resume = resume;
      o.ranks = &rank;
      if (stop) o.stop = [&stop, r = rank.rank()] { return stop(r); };
      results[static_cast<size_t>(rank.rank())] = train_run(c, o);
    });
    return results;
  }
  fs::path out(const char* name, int64_t rank) const { return folder_ / name / fmt::format("rank{}", rank); }
  SafetensorsFile last(const char* name, int64_t rank) const {
    return read_safetensors(checkpoint_in(out(name, rank)));
  }
};

// All but the running statistics of batch norms, which are a rank's own.
void expect_same_weights(const SafetensorsFile& a, const SafetensorsFile& b) {
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  size_t compared = 0;
  for (const auto& [name, tensor] : a.tensors) {
    if (name.ends_with("running_mean") || name.ends_with("running_var")) continue;
    EXPECT_TRUE(same_bits(tensor, b.tensors.at(name))) << name;
    ++compared;
  }
  EXPECT_GT(compared, 50u);
}

TEST_F(RankRuns, StayEqualAndResume) {
  const std::vector<RunResult> whole = train("whole", config());
  EXPECT_TRUE(whole[0].finished && whole[1].finished);
  EXPECT_EQ(whole[0].shapes, whole[1].shapes);
  EXPECT_EQ(whole[0].steps, 6);
  expect_same_weights(last("whole", 0), last("whole", 1));
  EXPECT_NE(last("whole", 0).tensors.at("pool1.alpha").values()[0], 2) << "the shapes were to move";
  const Json said = *RunDirectory(out("whole", 1), true).provenance();
  EXPECT_EQ(said.at("rank").at("rank"), 1);
  EXPECT_EQ(said.at("rank").at("ranks"), 2);

  // Rank 1 alone is asked to stop, and both do.
  const std::vector<RunResult> parts = train("parts", config(), false, [](int64_t rank) { return rank == 1; });
  EXPECT_FALSE(parts[0].finished || parts[1].finished);
  EXPECT_EQ(parts[0].steps, 2);  // of train.log_every
  EXPECT_EQ(parts[1].steps, 2);
  EXPECT_TRUE(train("parts", config(), true)[0].finished);
  for (const int64_t rank : {0, 1}) expect_same_weights(last("whole", rank), last("parts", rank));
}

// Ranks choose by the same numbers, so that all of them look at the test images as often as the others.
TEST_F(RankRuns, ChooseTheSameWeights) {
  const Config c = config({"data.val_images=12", "train.epochs=4", "optim.lr=0.1", "train.dtype=f64"});
  const std::vector<RunResult> whole = train("whole", c);
  EXPECT_TRUE(whole[0].finished && whole[1].finished);
  EXPECT_EQ(whole[0].last, whole[1].last);
  EXPECT_EQ(whole[0].best, whole[1].best);
  EXPECT_EQ(whole[0].validation_best, whole[1].validation_best);
  for (const auto& [name, tensor] : last("whole", 0).tensors)
    EXPECT_TRUE(same_bits(tensor, last("whole", 1).tensors.at(name))) << name;
  fs::remove(out("whole", 1) / "result.json");  // killed between the two
  const std::vector<RunResult> again = train("whole", c, true);
  for (const RunResult& each : again) EXPECT_EQ(each.best, whole[0].best);
}

void expect_refused(const std::function<void()>& run, const std::string& what) {
  try {
    run();
    ADD_FAILURE() << "nothing was thrown; expected: " << what;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(what), std::string::npos) << e.what();
  }
}

TEST_F(RankRuns, WhatDoesNotFitIsRefused) {
  expect_refused([&] { train("batch", config({"train.batch=1"})); },
                 "train.batch: a batch of 1 images has none for some of 2 ranks");
  expect_refused([&] { train("rest", config({"data.train_images=33"})); },
                 "a batch of 1 images has none for some of 2 ranks; data.drop_last=true");
  expect_refused([&] { train("learner", config({R"(optim.shape={"lr": 0.05, "learner": {"type": "differences"}})"})); },
                 "optim.shape.learner: differences compares losses of one rank's images");
  expect_refused(
      [&] {
        train("pixels", config({"task=segmentation", "data.name=shapes", "model.head=fcn", "data.augment=none"}));
      },
      "task: segmentation counts pixels");
  train("apart", config({"train.max_steps=2"}));
  fs::remove_all(out("apart", 1));
  fs::create_directories(out("apart", 1));
  fs::copy_file(out("apart", 0) / "config.json", out("apart", 1) / "config.json");
  expect_refused([&] { train("apart", config(), true); }, "expected all ranks at the same step, they stand at 2, 0");
}

TEST_F(RankRuns, ALossThatIsNotFiniteStopsAllOfThem) {
  int64_t said = 0;
  std::mutex mutex;
  Meeting::run(2, [&](Meeting::Rank& rank) {
    RunOptions o;
    o.out = out("nan", rank.rank());
    o.ranks = &rank;
    try {
      train_run(config({"optim.lr=1e30", "optim.grad_clip=null"}), o);
    } catch (const Failure&) {
      const std::lock_guard lock(mutex);
      ++said;
    }
  });
  EXPECT_EQ(said, 2);
}

}  // namespace
}  // namespace tidepool
