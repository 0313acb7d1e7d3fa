// Optimizers against their formulas in f64, groups, clipping.
#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/json.h"

namespace tidepool {
namespace {

Parameter parameter(const std::string& name, ParameterKind kind, std::initializer_list<double> values) {
  const Tensor value = Tensor::from<double>(values, {static_cast<int64_t>(values.size())});
  value.set_requires_grad();
  return {name, kind, value};
}

void set_gradient(const Parameter& p, std::initializer_list<double> values) {
  p.value.set_grad(Tensor::from<double>(values, p.value.shape()));
}

OptimConfig constant(const std::string& name, double lr) {
  OptimConfig config;
  config.name = name;
  config.lr = lr;
  config.schedule.type = ScheduleType::kConstant;
  return config;
}

TEST(Glob, MatchesAsAShellDoes) {
  EXPECT_TRUE(glob_match("*.alpha", "pool1.alpha"));
  EXPECT_TRUE(glob_match("pool?.alpha", "pool4.alpha"));
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("features.*.we*t", "features.10.weight"));
  EXPECT_FALSE(glob_match("*.alpha", "pool1.alpha2"));
  EXPECT_FALSE(glob_match("pool?.alpha", "pool10.alpha"));
  EXPECT_FALSE(glob_match("", "a"));
}

// torch.optim.SGD, written out: g += wd w; v = mu v + g (v = g at first); w -= lr (g + mu v).
TEST(Sgd, NesterovAsTorchDefinesIt) {
  const Parameter w = parameter("w", ParameterKind::weight, {1.0, -2.0});
  Optimizer optimizer(constant("sgd", 0.1), {w}, 10, 100);
  double value[2] = {1.0, -2.0}, velocity[2] = {0, 0};
  for (int step = 0; step < 5; ++step) {
    const double gradient[2] = {0.3 - 0.1 * step, 0.7 * step};
    set_gradient(w, {gradient[0], gradient[1]});
    optimizer.step(step);
    for (int i = 0; i < 2; ++i) {
      const double g = gradient[i] + 5e-4 * value[i];
      velocity[i] = (step == 0 ? 0 : 0.9 * velocity[i]) + g;
      value[i] -= 0.1 * (g + 0.9 * velocity[i]);
      EXPECT_NEAR(w.value.values()[static_cast<size_t>(i)], value[i], 1e-14);
    }
    EXPECT_FALSE(w.value.grad()) << "gradients are dropped";
  }
}

// Loshchilov & Hutter: decay apart from the moments, bias correction by powers.
TEST(AdamW, DecoupledDecay) {
  OptimConfig config = constant("adamw", 1e-2);
  config.weight_decay = 0.05;
  const Parameter w = parameter("w", ParameterKind::weight, {0.5});
  Optimizer optimizer(config, {w}, 10, 100);
  double value = 0.5, m = 0, v = 0;
  for (int step = 0; step < 6; ++step) {
    const double g = std::sin(step + 1.0);
    set_gradient(w, {g});
    optimizer.step(step);
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    const double mh = m / (1 - std::pow(0.9, step + 1)), vh = v / (1 - std::pow(0.999, step + 1));
    value -= 1e-2 * 0.05 * value;
    value -= 1e-2 * mh / (std::sqrt(vh) + 1e-8);
    EXPECT_NEAR(w.value.item(), value, 1e-13);
  }
}

// Ten steps of each case of tests/golden/optimizers.json that this registry has.
TEST(Optimizer, AsTorchDoes) {
  const Json golden = read_json(std::string(TIDEPOOL_SOURCE_DIR) + "/tests/golden/optimizers.json");
  const auto numbers = [](const Json& list) {
    const auto v = list.get<std::vector<double>>();
    return Tensor::from<double>(std::span(v), {static_cast<int64_t>(v.size())});
  };
  for (const Json& one : golden.at("cases")) {
    const auto name = one.at("optimizer").get<std::string>();
    if (name == "rmsprop") continue;  // not registered
    const Json& options = one.at("options");
    OptimConfig config;
    config.name = name;
    config.schedule.type = ScheduleType::kConstant;
    config.weight_decay = options.at("weight_decay").get<double>();
    config.momentum = options.value("momentum", config.momentum);
    config.nesterov = options.value("nesterov", config.nesterov);
    config.eps = options.value("eps", config.eps);
    if (options.contains("betas")) {
      config.beta1 = options.at("betas").at(0).get<double>();
      config.beta2 = options.at("betas").at(1).get<double>();
    }
    const Json& lr = one.at("lr");
    config.lr = lr.front().get<double>();
    if (lr.front() != lr.back()) {  // lr falls by a fifth at each step
      config.schedule.type = ScheduleType::kStep;
      config.schedule.milestones = {1, 2, 3, 4, 5, 6, 7, 8, 9};
      config.schedule.gamma = 0.8;
    }
    const Parameter w{"w", ParameterKind::weight, numbers(golden.at("start"))};
    w.value.set_requires_grad();
    Optimizer optimizer(config, {w}, 1, 10);
    for (size_t step = 0; step < one.at("steps").size(); ++step) {
      w.value.set_grad(numbers(golden.at("gradients").at(step)));
      optimizer.step(static_cast<int64_t>(step));
      const auto want = one.at("steps").at(step).get<std::vector<double>>(), got = w.value.values();
      for (size_t i = 0; i < want.size(); ++i)
        EXPECT_NEAR(got[i], want[i], 1e-13 * std::max(1.0, std::abs(want[i])))
            << one.at("name") << " step " << step << ", element " << i;
    }
  }
}

TEST(Optimizer, DecaysWeightsAlone) {
  const std::vector<Parameter> all{parameter("w", ParameterKind::weight, {1}), parameter("b", ParameterKind::bias, {1}),
                                   parameter("n", ParameterKind::norm, {1}), parameter("a", ParameterKind::shape, {1})};
  Optimizer optimizer(constant("sgd", 0.1), all, 10, 100);
  for (const Parameter& p : all) set_gradient(p, {0});
  optimizer.step(0);
  EXPECT_LT(all[0].value.item(), 1);
  for (size_t i = 1; i < all.size(); ++i) EXPECT_EQ(all[i].value.item(), 1) << all[i].name;
}

TEST(Optimizer, GroupsHaveTheirOwnRateFirstEpochAndInterval) {
  OptimConfig config = constant("sgd", 0.1);
  ParamGroupConfig group;
  group.match = "*.alpha";
  group.lr = 1;
  group.momentum = 0;
  group.first_epoch = 2;
  group.every = 3;
  group.schedule = config.schedule;
  config.groups.push_back(group);
  config.nesterov = false;
  const Parameter a = parameter("pool1.alpha", ParameterKind::shape, {10});
  Optimizer optimizer(config, {a}, 4, 100);
  std::vector<double> path;
  for (int step = 0; step < 16; ++step) {
    set_gradient(a, {1});
    optimizer.step(step);
    path.push_back(a.value.item());
  }
  EXPECT_EQ(path, (std::vector<double>{10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 9, 9, 9, 8, 8, 8}));
}

TEST(Optimizer, ClipsTheGlobalNorm) {
  OptimConfig config = constant("sgd", 1);
  config.momentum = 0;
  config.nesterov = false;
  config.weight_decay = 0;
  config.grad_clip = 1;
  const std::vector<Parameter> both{parameter("a", ParameterKind::weight, {0}),
                                    parameter("b", ParameterKind::weight, {0})};
  Optimizer optimizer(config, both, 10, 100);
  set_gradient(both[0], {3});
  set_gradient(both[1], {4});
  optimizer.step(0);
  EXPECT_NEAR(both[0].value.item(), -0.6, 1e-6);
  EXPECT_NEAR(both[1].value.item(), -0.8, 1e-6);
  set_gradient(both[0], {0.3});
  set_gradient(both[1], {0.4});
  optimizer.step(1);
  EXPECT_NEAR(both[0].value.item(), -0.9, 1e-6) << "a short gradient is left as it is";
}

}  // namespace
}  // namespace tidepool
