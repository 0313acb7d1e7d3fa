// Optimizers against their formulas in f64, groups, clipping.
#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

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

// Ten steps of each case of tests/golden/optimizers.json, which has every optimizer.
TEST(Optimizer, AsTorchDoes) {
  const Json golden = read_json(std::string(TIDEPOOL_SOURCE_DIR) + "/tests/golden/optimizers.json");
  const auto numbers = [](const Json& list) {
    const auto v = list.get<std::vector<double>>();
    return Tensor::from<double>(std::span(v), {static_cast<int64_t>(v.size())});
  };
  std::set<std::string> seen;
  for (const Json& one : golden.at("cases")) {
    const auto name = one.at("optimizer").get<std::string>();
    SCOPED_TRACE(one.at("name").get<std::string>());
    OptimConfig config;
    config.name = name;
    config.options = one.at("options");
    config.weight_decay = config.options.at("weight_decay").get<double>();
    config.options.erase("weight_decay");
    find_optimizer(name).check(config.options, [](const std::string& key, const std::string& message) {
      throw Error("{}: {}", key, message);
    });
    const auto lr = one.at("lr").get<std::vector<double>>();
    config.lr = lr.front();
    config.schedule.type = ScheduleType::kConstant;
    if (lr.front() != lr.back()) {  // times the same factor at each step, which is an epoch here
      config.schedule.type = ScheduleType::kStep;
      config.schedule.gamma = lr[1] / lr[0];
      for (size_t i = 1; i < lr.size(); ++i) config.schedule.milestones.push_back(static_cast<double>(i));
    }
    seen.insert(name);
    const Parameter w{"w", ParameterKind::weight, numbers(golden.at("start"))};
    w.value.set_requires_grad();
    Optimizer optimizer(config, {w}, 1, 10);
    for (size_t step = 0; step < one.at("steps").size(); ++step) {
      w.value.set_grad(numbers(golden.at("gradients").at(step)));
      optimizer.step(static_cast<int64_t>(step));
      const auto want = one.at("steps").at(step).get<std::vector<double>>(), got = w.value.values();
      for (size_t i = 0; i < want.size(); ++i)
        EXPECT_NEAR(got[i], want[i], 1e-13 * std::max(1.0, std::abs(want[i]))) << "step " << step << ", element " << i;
    }
  }
  for (const OptimizerDescription* each : optimizers()) EXPECT_TRUE(seen.contains(each->name)) << each->name;
}

// Both types, parameters shorter and longer than a vector and a chunk, one without a gradient: each as if it were
// alone.
TEST(Optimizer, ParametersDoNotMeet) {
  for (const OptimizerDescription* each : optimizers())
    for (const DType dtype : {DType::f32, DType::f64}) {
      SCOPED_TRACE(each->name + std::string(" ") + name_of(dtype));
      const auto make = [&](int64_t n) {
        const Tensor value = Tensor::empty({n}, {.dtype = dtype});
        for (int64_t i = 0; i < n; ++i) value.slice(0, i, 1).fill(std::sin(static_cast<double>(i + n)));
        value.set_requires_grad();
        return Parameter{"w" + std::to_string(n), n % 2 ? ParameterKind::weight : ParameterKind::bias, value};
      };
      const auto gradient = [&](const Parameter& p, int step) {
        const Tensor grad = Tensor::empty(p.value.shape(), {.dtype = dtype});
        for (int64_t i = 0; i < grad.numel(); ++i)
          grad.slice(0, i, 1).fill(std::cos(static_cast<double>(i * 3 + step)));
        p.value.set_grad(grad);
      };
      const std::vector<int64_t> sizes{1, 16, 5, 4099, 17, 40, 4096, 9000, 0, 33};
      std::vector<Parameter> all;
      for (const int64_t n : sizes) all.push_back(make(n));
      Optimizer together(constant(each->name, 0.1), all, 10, 100);
      for (int step = 0; step < 3; ++step) {
        for (const Parameter& p : all)
          if (p.value.numel() != 40) gradient(p, step);
        together.step(step);
      }
      for (size_t k = 0; k < sizes.size(); ++k) {
        const Parameter one = make(sizes[k]);
        Optimizer alone(constant(each->name, 0.1), {one}, 10, 100);
        for (int step = 0; step < 3; ++step) {
          if (sizes[k] != 40) gradient(one, step);
          alone.step(step);
        }
        EXPECT_EQ(all[k].value.values(), one.value.values()) << sizes[k];
        if (sizes[k] > 0 && sizes[k] != 40) {
          EXPECT_NE(one.value.values(), make(sizes[k]).value.values());
        }
      }
    }
}

TEST(Optimizer, NamesOfTheState) {
  const auto names = [](const std::string& name, const Json& options) {
    OptimConfig config = constant(name, 0.1);
    config.options = options;
    std::string text;
    for (const auto& each : Optimizer(config, {parameter("w", ParameterKind::weight, {1})}, 1, 1).state())
      text += each.first + " ";
    return text;
  };
  EXPECT_EQ(names("sgd", {{"momentum", 0}, {"nesterov", false}}), "w/momentum ");
  EXPECT_EQ(names("adamw", Json::object()), "w/moment1 w/moment2 ");
  EXPECT_EQ(names("rmsprop", Json::object()), "w/square_average ");
  EXPECT_EQ(names("rmsprop", {{"momentum", 0.9}}), "w/square_average w/momentum ");
  EXPECT_EQ(names("rmsprop", {{"momentum", 0.9}, {"centered", true}}),
            "w/square_average w/momentum w/gradient_average ");
}

// In f32 the mean square may come out below the square of the mean.
TEST(RmsProp, CenteredOfAConstantGradientIsFinite) {
  OptimConfig config = constant("rmsprop", 1e-6);
  config.options = {{"alpha", 0.1}, {"centered", true}};
  const Parameter w{"w", ParameterKind::weight, Tensor::full({40}, 1)};
  w.value.set_requires_grad();
  Optimizer optimizer(config, {w}, 10, 1000);
  for (int step = 0; step < 60; ++step) {
    const Tensor grad = Tensor::full({40}, 0);
    for (int64_t i = 0; i < 40; ++i) grad.mutable_data<float>()[i] = 0.1F * static_cast<float>(i + 1);
    w.value.set_grad(grad);
    optimizer.step(step);
  }
  for (const double each : w.value.values()) EXPECT_TRUE(std::isfinite(each));
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
  group.options["momentum"] = 0;
  group.first_epoch = 2;
  group.every = 3;
  group.schedule = config.schedule;
  config.groups.push_back(group);
  config.options["nesterov"] = false;
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

TEST(Optimizer, ShapeParametersAreAGroupAndAGroupThatMatchesWins) {
  OptimConfig config = constant("sgd", 0.1);
  config.options = {{"momentum", 0}, {"nesterov", false}};
  config.shape.emplace();
  config.shape->lr = 1;
  config.shape->first_epoch = 1;
  config.shape->schedule = config.schedule;
  ParamGroupConfig group;
  group.match = "pool2.*";
  group.lr = 2;
  group.schedule = config.schedule;
  config.groups.push_back(group);
  const std::vector<Parameter> all{
      parameter("pool1.alpha", ParameterKind::shape, {10}), parameter("pool2.alpha", ParameterKind::shape, {10}),
      parameter("pool3.stride", ParameterKind::shape, {10}), parameter("pool4.alpha", ParameterKind::bias, {10})};
  Optimizer optimizer(config, all, 2, 100);
  std::vector<std::vector<double>> paths(all.size());
  for (int step = 0; step < 3; ++step) {
    for (const Parameter& p : all) set_gradient(p, {1});
    optimizer.step(step);
    for (size_t i = 0; i < all.size(); ++i) paths[i].push_back(all[i].value.item());
  }
  EXPECT_EQ(paths[0], (std::vector<double>{10, 10, 9}));
  EXPECT_EQ(paths[1], (std::vector<double>{8, 6, 4}));
  EXPECT_EQ(paths[2], paths[0]);
  EXPECT_NEAR(paths[3][2], 9.7, 1e-5);  // another operator's alpha, which decides no size
}

// w -= gradient, of norm 1 at most.
OptimConfig clipped() {
  OptimConfig config = constant("sgd", 1);
  config.options = {{"momentum", 0}, {"nesterov", false}};
  config.weight_decay = 0;
  config.grad_clip = 1;
  return config;
}

TEST(Optimizer, ClipsTheGlobalNorm) {
  const OptimConfig config = clipped();
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

// Neither before its first epoch nor at rate 0 does a size's gradient make the weights' shorter.
TEST(Optimizer, ClippingLooksAtWhatMoves) {
  for (const double rate : {1., 0.}) {
    OptimConfig config = clipped();
    config.shape = ShapeSettings{};
    config.shape->lr = rate;
    config.shape->first_epoch = rate > 0 ? 3 : 0;
    config.shape->options = config.options;
    const std::vector<Parameter> both{parameter("a", ParameterKind::weight, {0}),
                                      parameter("b.alpha", ParameterKind::shape, {2})};
    Optimizer optimizer(config, both, 10, 100);
    set_gradient(both[0], {0.5});
    set_gradient(both[1], {1000});
    optimizer.step(0);
    EXPECT_NEAR(both[0].value.item(), -0.5, 1e-6);
    EXPECT_EQ(both[1].value.item(), 2);
    if (rate == 0) continue;
    set_gradient(both[0], {3});
    set_gradient(both[1], {4});
    optimizer.step(30);
    EXPECT_NEAR(both[0].value.item(), -0.5 - 0.6, 1e-6) << "now it moves, and counts";
  }
}

}  // namespace
}  // namespace tidepool
