// Learners of sizes on functions whose gradient is known, and in a network; budgets; what a row more or less does.
#include "train/shape_learning.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "train/gmacs_term.h"
#include "train/shape_rule.h"
#include "train/size_effects.h"
#include "train/step.h"

namespace tidepool {
namespace {

// L(s) = 3 + g s + s H s / 2 about s = 0, with noise that the losses of one step share, as those of one batch do.
class Quadratic final : public ShapeProbe {
 public:
  static constexpr double kGradient[] = {0.02, -0.05, 0.005, 0.01};
  explicit Quadratic(uint64_t step) : noise_(Random(7, step).normal()) {}

  size_t sizes() const override { return std::size(kGradient); }
  std::span<const double> drawn() const override { return drawn_; }
  double drawn_loss() const override { return at(drawn_); }
  double loss(std::span<double> rows) override {
    ++forwards;
    for (double& one : rows) one = std::min(one, most_rows);
    return at(rows);
  }

  std::vector<double> drawn_ = std::vector<double>(std::size(kGradient));
  int forwards = 0;
  double most_rows = INFINITY;  // the sizes' upper bound

 private:
  double at(std::span<const double> rows) const {
    double sum = 0, loss = 3 + 0.1 * noise_;
    for (size_t i = 0; i < rows.size(); ++i) {
      sum += rows[i];
      loss += kGradient[i] * rows[i];
    }
    return loss + 0.02 * sum * sum;  // sizes interact
  }
  double noise_;
};

struct Estimates {
  std::vector<double> mean, standard_error;
  double forwards = 0;  // per estimate
};

Estimates estimates_of(const char* type, const Json& options, int n) {
  const auto learner = find_shape_learner(type).make(options);
  Estimates e;
  std::vector<double> sum(4), squares(4);
  for (int step = 0; step < n; ++step) {
    Quadratic probe(static_cast<uint64_t>(step));
    Random draw(1, 2 * static_cast<uint64_t>(step)), random(1, 2 * static_cast<uint64_t>(step) + 1);
    learner->draw(draw, probe.drawn_);
    const std::vector<double> g = learner->estimate(probe, random);
    for (size_t i = 0; i < 4; ++i) {
      sum[i] += g[i];
      squares[i] += g[i] * g[i];
    }
    e.forwards += static_cast<double>(probe.forwards) / n;
  }
  for (size_t i = 0; i < 4; ++i) {
    e.mean.push_back(sum[i] / n);
    e.standard_error.push_back(std::sqrt((squares[i] / n - e.mean[i] * e.mean[i]) / n));
  }
  return e;
}

TEST(ShapeLearner, EveryEstimateHasTheGradientAsItsMean) {
  struct Case {
    const char* type;
    Json options;
    int n;
    double forwards;
  };
  for (const Case& c : {Case{"differences", {{"rows", 1.0}}, 4000, 2},
                        Case{"differences", {{"rows", 0.75}, {"directions", "one"}, {"pairs", 3}}, 4000, 6},
                        Case{"stochastic", {{"sigma", 0.5}}, 20000, 1},
                        Case{"stochastic", {{"sigma", 0.75}, {"estimate", "score"}}, 200000, 0}}) {
    const Estimates e = estimates_of(c.type, c.options, c.n);
    EXPECT_NEAR(e.forwards, c.forwards, 1e-9);
    for (size_t i = 0; i < 4; ++i) {
      SCOPED_TRACE(fmt::format("{} {} size {}", c.type, c.options.dump(), i));
      EXPECT_GT(e.standard_error[i], 0);
      EXPECT_LT(e.standard_error[i], 0.004) << "or the test says nothing";
      EXPECT_NEAR(e.mean[i], Quadratic::kGradient[i], 4.5 * e.standard_error[i]);
    }
  }
}

// What the batch adds to both losses cancels in a difference, not in a score.
TEST(ShapeLearner, DifferencesDoNotSeeTheNoiseOfABatch) {
  EXPECT_LT(estimates_of("stochastic", {{"sigma", 0.5}}, 2000).standard_error[0],
            0.5 * estimates_of("stochastic", {{"sigma", 0.5}, {"estimate", "score"}}, 2000).standard_error[0]);
}

// At a bound a size moves to one side alone: its difference is over half the rows.
TEST(ShapeLearner, ADifferenceIsOverTheRowsThatASizeMoved) {
  const auto learner = find_shape_learner("differences").make({{"rows", 0.001}, {"directions", "one"}});
  std::vector<double> sum(4);
  for (uint64_t step = 0; step < 400; ++step) {
    Quadratic probe(step);
    probe.most_rows = 0;
    Random random(1, step);
    const std::vector<double> g = learner->estimate(probe, random);
    for (size_t i = 0; i < 4; ++i) {
      if (g[i] != 0) {
        EXPECT_NEAR(g[i], 4 * Quadratic::kGradient[i], 1e-3);
      }
      sum[i] += g[i];
    }
  }
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(sum[i] / 400, Quadratic::kGradient[i], 0.015);
}

TEST(ShapeLearner, AreListedAndNamed) {
  std::vector<std::string> names;
  for (const ShapeLearnerDescription* each : shape_learners()) names.push_back(each->name);
  EXPECT_EQ(names, (std::vector<std::string>{"differences", "gradient", "stochastic"}));
  EXPECT_TRUE(find_shape_learner("gradient").make(Json::object())->uses_backward());
  try {
    find_shape_learner("diferences");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("did you mean 'differences'"), std::string::npos) << e.what();
  }
}

// Adam's normalisation of what SGD is given, in the logarithm, written out.
TEST(ShapeRule, LogarithmAndNormalisation) {
  OptimConfig config;
  config.options = {{"momentum", 0}, {"nesterov", false}};
  config.schedule.type = ScheduleType::kConstant;
  config.shape.emplace();
  config.shape->lr = 0.1;
  config.shape->schedule = config.schedule;
  config.shape->log = true;
  config.shape->normalize = 0.9;
  const Tensor a = Tensor::from<double>({2.0, 3.0}, {2});
  a.set_requires_grad();
  Optimizer optimizer(config, {{"pool1.alpha", ParameterKind::shape, a}}, 10, 100);
  EXPECT_EQ(optimizer.state().back().first, "pool1.alpha/mean_square");
  double w[2] = {std::log(2.0), std::log(3.0)}, v[2] = {0, 0};
  for (int step = 0; step < 6; ++step) {
    const double g[2] = {0.3 - 0.1 * step, 1e-3 * (step + 1)};
    a.set_grad(Tensor::from<double>({g[0], g[1]}, {2}));
    optimizer.step(step);
    for (int i = 0; i < 2; ++i) {
      const double in_log = g[i] * std::exp(w[i]);
      v[i] = 0.9 * v[i] + 0.1 * in_log * in_log;
      w[i] -= 0.1 * in_log / (std::sqrt(v[i] / (1 - std::pow(0.9, step + 1))) + 1e-12);
      EXPECT_NEAR(a.values()[static_cast<size_t>(i)], std::exp(w[i]), 1e-12);
    }
  }
  const Tensor negative = Tensor::from<double>({-0.3}, {1});
  EXPECT_THROW(Optimizer(config, {{"pool1.alpha", ParameterKind::shape, negative}}, 10, 100), Error);
}

// A normalised gradient has the length of one step; clipping shortens what is normalised, not the step.
TEST(ShapeRule, ClippingComesBeforeNormalisation) {
  OptimConfig config;
  config.options = {{"momentum", 0}, {"nesterov", false}};
  config.schedule.type = ScheduleType::kConstant;
  config.grad_clip = 1e-3;
  config.shape.emplace();
  config.shape->lr = 0.1;
  config.shape->schedule = config.schedule;
  config.shape->normalize = 0.9;
  const Tensor a = Tensor::from<double>({2.0}, {1});
  a.set_requires_grad();
  Optimizer optimizer(config, {{"pool1.alpha", ParameterKind::shape, a}}, 10, 100);
  a.set_grad(Tensor::from<double>({5.0}, {1}));
  optimizer.step(0);
  EXPECT_NEAR(a.item(), 1.9, 1e-9);
}

TEST(Optimizer, ALastEpochAndASecondStage) {
  OptimConfig config;
  config.lr = 1;
  config.options = {{"momentum", 0}, {"nesterov", false}};
  config.weight_decay = 0;
  config.schedule.type = ScheduleType::kLinear;
  config.shape.emplace();
  config.shape->lr = 1;
  config.shape->schedule.type = ScheduleType::kLinear;
  config.shape->first_epoch = 1;
  config.shape->last_epoch = 3;
  const auto paths = [&](std::optional<int64_t> retrain_after) {
    config.shape->retrain_after = retrain_after;
    const Tensor a = Tensor::from<double>({10}, {1}), w = Tensor::from<double>({10}, {1});
    Optimizer optimizer(config, {{"pool1.alpha", ParameterKind::shape, a}, {"w", ParameterKind::weight, w}}, 2, 10);
    std::vector<double> shape, rates;
    for (int step = 0; step < 10; ++step) {
      a.set_grad(Tensor::from<double>({1}, {1}));
      optimizer.step(step);
      shape.push_back(a.item());
      rates.push_back(optimizer.learning_rate(step));
    }
    return std::pair(shape, rates);
  };
  const auto near = [](const std::vector<double>& a, const std::vector<double>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-12) << i;
  };
  // Epochs 1 and 2 are steps 2 to 5; a line from 1 to 0 over these four.
  near(paths({}).first, {10, 10, 9, 8.25, 7.75, 7.5, 7.5, 7.5, 7.5, 7.5});
  near(paths({}).second, {1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1});
  // Two epochs, then three: the sizes move in steps 2 and 3 alone, and each stage has its own line.
  near(paths(2).first, {10, 10, 9, 8.5, 8.5, 8.5, 8.5, 8.5, 8.5, 8.5});
  near(paths(2).second, {1, 0.75, 0.5, 0.25, 1, 5.0 / 6, 4.0 / 6, 0.5, 2.0 / 6, 1.0 / 6});
}

class SmallNetwork : public testing::Test {
 protected:
  Config config(const std::vector<std::string>& sets = {}) const {
    return load_config_text(R"({
      "name": "test", "data": {"name": "procedural", "train_images": 160, "test_images": 40, "workers": 0},
      "model": {"name": "vgg16", "width": 0.0625, "pool": {"default": {"type": "dynopool"}}},
      "optim": {"lr": 0.05, "shape": {"lr": 0.02, "momentum": 0.5, "log": true, "normalize": 0.9}},
      "train": {"epochs": 4, "batch": 16}})",
                            "test", sets);
  }
};

TEST_F(SmallNetwork, ARowMoreOrLessIsARow) {
  for (const char* pool : {R"({"type": "dynopool"})", R"({"type": "dynopool", "r": [0.45, 0.7]})",
                           R"({"type": "dynopool", "tied": true})"}) {
    SCOPED_TRACE(pool);
    const Config c = config({fmt::format("model.pool={{\"default\": {}}}", pool)});
    const auto network = make_run_network(c);
    network->project();
    const auto before = network->learned_sizes();
    ASSERT_GE(before.size(), 4U);
    for (size_t i = 0; i < before.size(); ++i)
      for (const double rows : {1.0, -1.0}) {
        if (before[i].length <= 2 && rows < 0) continue;  // bounds
        SizeChange change(*network);
        const std::vector<double> moved = change.apply(std::span(&before[i], 1), std::span(&rows, 1));
        EXPECT_NEAR(moved[0], rows, 1e-4);
        EXPECT_EQ(network->learned_sizes()[i].length, before[i].length + static_cast<int64_t>(rows))
            << before[i].parameter << " " << before[i].element;
      }
    for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(network->learned_sizes()[i].at(), before[i].at());
  }
}

TEST_F(SmallNetwork, ASizeStopsAtItsBound) {
  const auto network =
      make_run_network(config({R"(model.pool={"default": {"type": "dynopool", "r": 0.5, "r_max": 0.5}})"}));
  const LearnedSize size = network->learned_sizes().at(0);
  SizeChange change(*network);
  for (const auto& [rows, moved] : {std::pair(1.0, 0.0), std::pair(-1.0, -1.0)})
    EXPECT_NEAR(change.apply(std::span(&size, 1), std::span(&rows, 1))[0], moved, 1e-4);
}

TEST_F(SmallNetwork, ALearnerThatCannotSeeALengthIsRefused) {
  const Config c = config({"optim.shape.log=false", R"(model.pool={"default": {"type": "shape_adaptor"}})",
                           "optim.shape.learner.type=differences"});
  const auto network = make_run_network(c);
  const auto task = make_task(c, *network);
  Optimizer optimizer(c.optim, network->parameters(), 10, 40);
  try {
    const Stepper stepper(*network, *task, optimizer, c.loss, 1);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("pool1.alpha"), std::string::npos) << e.what();
  }
}

// Ten steps with each learner: the sizes move, what they cost is counted, and trying sizes leaves the running
// statistics as the step's own forward made them.
TEST_F(SmallNetwork, TenStepsOfEachLearner) {
  struct Case {
    std::vector<std::string> sets;
    int64_t forwards;  // of a step that moves the sizes
  };
  for (const Case& one : {Case{{"optim.shape.learner.type=gradient"}, 0},
                          Case{{"optim.shape.learner.type=differences", "optim.shape.every=2"}, 2},
                          Case{{"optim.shape.learner.type=differences", "optim.shape.learner.directions=one"}, 2},
                          Case{{"optim.shape.learner.type=stochastic"}, 1},
                          Case{{"optim.shape.learner.type=stochastic", "optim.shape.learner.estimate=score"}, 0}}) {
    SCOPED_TRACE(fmt::format("{}", fmt::join(one.sets, " ")));
    const Config c = config(one.sets);
    const auto network = make_run_network(c);
    const auto task = make_task(c, *network);
    const RunData data = open_data(c.data, {});
    Loader loader(data.train, data.normalisation, loader_options(c, true));
    Optimizer optimizer(c.optim, network->parameters(), 10, 40);
    Stepper stepper(*network, *task, optimizer, c.loss, 1);
    loader.start_epoch(0);
    TensorBatch batch;
    const auto values = [&] {
      std::vector<double> all;
      for (const LearnedSize& size : network->learned_sizes()) all.push_back(size.at());
      return all;
    };
    for (int step = 0; step < 10; ++step) {
      ASSERT_TRUE(loader.next(batch));
      const std::vector<double> before = values();
      const StepLosses losses = stepper.step(batch, step);
      const bool moves = step % c.optim.shape->every == c.optim.shape->every - 1;
      // A score has nothing to compare the first loss with.
      if (step > 0) {
        EXPECT_EQ(values() != before, moves) << step;
      }
      EXPECT_EQ(stepper.shapes().forwards(), moves ? one.forwards : 0);
      EXPECT_TRUE(std::isfinite(losses.total));
    }
  }
}

TEST_F(SmallNetwork, TryingSizesChangesNothing) {
  const Config c = config({"optim.shape.learner.type=differences"}), still = config();
  std::vector<std::vector<double>> running[2];
  for (const Config* each : {&c, &still}) {
    const auto network = make_run_network(*each);
    const auto task = make_task(*each, *network);
    const RunData data = open_data(each->data, {});
    Loader loader(data.train, data.normalisation, loader_options(*each, true));
    Optimizer optimizer(each->optim, network->parameters(), 10, 40);
    Stepper stepper(*network, *task, optimizer, each->loss, 1);
    loader.start_epoch(0);
    TensorBatch batch;
    ASSERT_TRUE(loader.next(batch));
    const auto before = network->learned_sizes();
    stepper.gradients(batch, 0);
    for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ(network->learned_sizes()[i].at(), before[i].at());
    auto& of = running[each == &c ? 0 : 1];
    for (const Buffer& b : network->buffers()) of.push_back(b.value.values());
    for (const Parameter& p : network->parameters())
      if (p.kind != ParameterKind::shape) of.push_back(p.value.grad().values());
  }
  EXPECT_EQ(running[0], running[1]) << "statistics and gradients of weights are those of the step's own forward";
}

// mu <- max(0, mu + rho (G/T - 1)), and its gradient of the cost.
TEST_F(SmallNetwork, TheMultiplierFollowsTheCost) {
  Config c = config({"optim.shape.log=false", "optim.shape.normalize=null", "loss.gmacs_target=0.001",
                     "loss.gmacs_rate=0.25", "optim.shape.lr=0.05"});
  const auto network = make_run_network(c);
  const auto task = make_task(c, *network);
  const RunData data = open_data(c.data, {});
  Loader loader(data.train, data.normalisation, loader_options(c, true));
  Optimizer optimizer(c.optim, network->parameters(), 10, 40);
  Stepper stepper(*network, *task, optimizer, c.loss, 1);
  const double initial = network->trace().gmacs();
  EXPECT_GT(initial, 0.0012) << "above the budget";
  EXPECT_TRUE(stepper.gmacs_term().has_multiplier());
  EXPECT_FALSE(stepper.gmacs_term().unit_is_initial());
  loader.start_epoch(0);
  TensorBatch batch;
  double mu = 0;
  for (int step = 0; step < 10; ++step) {
    ASSERT_TRUE(loader.next(batch));
    const StepLosses losses = stepper.step(batch, step);
    EXPECT_EQ(losses.factor, mu);
    EXPECT_EQ(losses.total, losses.task + mu * (losses.gmacs / 0.001));
    mu = std::max(0.0, mu + 0.25 * (network->trace().gmacs() / 0.001 - 1));
    EXPECT_DOUBLE_EQ(stepper.gmacs_term().factor(), mu);
  }
  EXPECT_GT(mu, 0);
  EXPECT_LT(network->trace().gmacs(), initial);
}

// From above and from below, of a network whose learner would go elsewhere.
TEST_F(SmallNetwork, AProjectionHoldsTheCostFromBothSides) {
  const double initial = make_run_network(config())->trace().gmacs();
  for (const double share : {0.8, 1.0, 1.3}) {
    const Config c = config({fmt::format("loss.gmacs_target={}", share * initial), "loss.gmacs_control=projection"});
    const auto network = make_run_network(c);
    const auto task = make_task(c, *network);
    const RunData data = open_data(c.data, {});
    Loader loader(data.train, data.normalisation, loader_options(c, true));
    Optimizer optimizer(c.optim, network->parameters(), 10, 40);
    Stepper stepper(*network, *task, optimizer, c.loss, 1);
    loader.start_epoch(0);
    TensorBatch batch;
    for (int step = 0; step < 10; ++step) {
      ASSERT_TRUE(loader.next(batch));
      const StepLosses losses = stepper.step(batch, step);
      EXPECT_EQ(losses.total, losses.task);
      EXPECT_NEAR(network->trace().gmacs() / (share * initial), 1, 0.05) << "step " << step;
    }
  }
}

// In the network of the test the truth is known by other means: losses by hand.
TEST_F(SmallNetwork, EffectsOfARowAreDifferencesOfLosses) {
  const Config c = config();
  const auto network = make_run_network(c);
  const auto task = make_task(c, *network);
  const RunData data = open_data(c.data, {});
  const auto state = [&] {
    std::vector<std::vector<double>> all;
    for (const auto& [name, value] : network->state()) all.push_back(value.values());
    return all;
  };
  const auto before = state();
  const SizeEffects effects =
      measure_size_effects(c, *network, *task, data, {}, {.batches = 3, .steps = 2, .rate = 0.05, .epoch = 1});
  EXPECT_EQ(state(), before);
  ASSERT_EQ(effects.sizes.size(), 8U);
  const SizeEffect& first = effects.sizes[1];  // the width of pool1
  EXPECT_EQ(first.parameter, "pool1.alpha");
  EXPECT_EQ(first.axes, std::vector<int>{1});
  EXPECT_EQ(first.length, 16);
  ASSERT_TRUE(first.more && first.fewer);
  EXPECT_EQ(first.more->length, 17);
  EXPECT_EQ(first.fewer->length, 15);
  EXPECT_GT(first.more->gmacs, effects.gmacs);

  Loader loader(data.train, data.normalisation, loader_options(c, true));
  loader.start_epoch(1);
  std::vector<double> changes, gradients;
  TensorBatch batch;
  for (int64_t b = 0; b < 3; ++b) {
    ASSERT_TRUE(loader.next(batch));
    const double here = batch_loss(*network, *task, batch, 1, b);
    const LearnedSize size = network->learned_sizes()[1];
    SizeChange change(*network);
    const double one = 1;
    change.apply(std::span(&size, 1), std::span(&one, 1));
    EXPECT_EQ(network->slot_shapes()[0].second, (Dims{16, 17}));
    changes.push_back(batch_loss(*network, *task, batch, 1, b) - here);
  }
  const double mean = (changes[0] + changes[1] + changes[2]) / 3;
  EXPECT_NEAR(first.more->change.mean, mean, 1e-12);
  EXPECT_NE(mean, 0);
  ASSERT_TRUE(first.gradient_per_row);
  EXPECT_NEAR(first.gradient_per_row->mean, first.gradient.mean / (-32.0 / 4), 1e-12);
  ASSERT_TRUE(first.more->change_after);
  EXPECT_NE(first.more->change_after->mean, mean);
  EXPECT_NE(*effects.loss_after, effects.loss);

  // Whatever group the sizes are in, the steps hold them; AdamW's count goes on from its state.
  Config grouped = c;
  grouped.optim.groups.emplace_back().match = "*.alpha";
  grouped.optim.groups.back().lr = 5;
  const SizeEffectsOptions options{.batches = 3, .steps = 2, .rate = 0.05, .epoch = 1};
  EXPECT_EQ(measure_size_effects(grouped, *network, *task, data, {}, options).loss_after, effects.loss_after);
  Config adam = c;
  adam.optim.name = "adamw";
  adam.optim.options = Json::object();
  SizeEffectsOptions later = options;
  later.rate = 0.001;
  const auto first_step = measure_size_effects(adam, *network, *task, data, {}, later).loss_after;
  later.first_step = 1000;  // as if the moments, which are 0 here, were means over so many steps
  EXPECT_NE(measure_size_effects(adam, *network, *task, data, {}, later).loss_after, first_step);
}

// Maps of 26, 13, 6 and 3 rows: where pool1 has 27, pool2 would have 14, and 12 where it is moved by a whole row.
TEST_F(SmallNetwork, OtherSizesAreHeld) {
  const Config c =
      config({R"(model.pool={"pool1": {"type": "dynopool", "r": 0.8125}, "default": {"type": "dynopool"}})"});
  const auto network = make_run_network(c);
  network->project();
  const auto task = make_task(c, *network);
  const RunData data = open_data(c.data, {});
  const auto shapes = network->slot_shapes();
  ASSERT_EQ(shapes[1].second, (Dims{13, 13}));
  const auto lengths_that_change = [&](bool hold) {
    std::vector<int> all;
    for (const SizeEffect& size :
         measure_size_effects(c, *network, *task, data, {}, {.batches = 2, .hold_sizes = hold}).sizes)
      for (const auto& near : {size.more, size.fewer}) {
        if (!near) continue;
        int changed = 0;
        for (size_t slot = 0; slot < shapes.size(); ++slot)
          for (int axis = 0; axis < 2; ++axis) changed += near->shapes[slot].second[axis] != shapes[slot].second[axis];
        all.push_back(changed);
      }
    return all;
  };
  const std::vector<int> held = lengths_that_change(true), free = lengths_that_change(false);
  ASSERT_GE(held.size(), 12U);
  for (const int changed : held) EXPECT_EQ(changed, 1);
  EXPECT_GT(*std::max_element(free.begin(), free.end()), 1) << "or there was nothing to hold";
}

// No sizes have this cost: the least, or the most, is as near as they come.
TEST_F(SmallNetwork, ABudgetThatNoSizesHaveIsComeNearTo) {
  for (const auto& [pool, target] : {std::pair(R"({"type": "dynopool"})", "1e-9"),
                                     std::pair(R"({"type": "shape_adaptor", "grad": "straight_through"})", "1e-9"),
                                     std::pair(R"({"type": "shape_adaptor", "grad": "straight_through"})", "10")}) {
    SCOPED_TRACE(fmt::format("{} {}", pool, target));
    const Config c = config({"optim.shape.log=false", fmt::format("model.pool={{\"default\": {}}}", pool),
                             fmt::format("loss.gmacs_target={}", target), "loss.gmacs_control=projection"});
    const auto network = make_run_network(c);
    network->project();
    const double before = network->trace().gmacs();
    Optimizer optimizer(c.optim, network->parameters(), 10, 40);
    GmacsTerm term(c.loss, before);
    term.sizes_moved(*network, optimizer, 30);
    const double after = network->trace().gmacs();
    if (std::string_view(target) == "10")
      EXPECT_GT(after, 1.5 * before);
    else
      EXPECT_LT(after, 0.7 * before);
    for (const Parameter& p : network->parameters())
      for (const double v : p.value.values()) ASSERT_TRUE(std::isfinite(v)) << p.name;
  }
}

}  // namespace
}  // namespace tidepool
