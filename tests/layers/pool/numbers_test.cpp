// Learned numbers and draws of windowed operators: bounds after a step, starts, seeds.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "layers/pool/operator.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

using nlohmann::json;

struct Bound {
  const char* config;
  std::vector<double> before, after;
};

TEST(PoolNumbers, AreProjected) {
  for (const Bound& bound : {
           Bound{R"({"type": "gem", "learned": true})", {-2}, {1e-3}},
           Bound{R"({"type": "gem", "learned": true, "per": "channel"})", {0.5, 1e-4, 7}, {0.5, 1e-3, 7}},
           Bound{R"({"type": "lse", "learned": true})", {0}, {1e-3}},
           Bound{R"({"type": "lse", "learned": true})", {1e6}, {1e6}},
           Bound{R"({"type": "lp", "learned": true})", {0.5}, {1}},
           Bound{R"({"type": "mixed", "learned": true})", {-40}, {-40}},
           Bound{R"({"type": "ada"})", {-40}, {-40}},
       }) {
    SCOPED_TRACE(bound.config);
    const Dims shape{1, 3, 4, 4};
    const auto op = make_pool_operator(json::parse(bound.config));
    for (const DType type : {DType::f64, DType::f32}) {
      const Tensor p =
          Tensor::from<double>(std::span<const double>(bound.before), op->parameters(shape)[0].shape).to(type);
      const uint64_t version = p.version();
      op->project(std::span(&p, 1), shape);
      for (size_t i = 0; i < bound.after.size(); ++i)
        EXPECT_NEAR(p.values()[i], bound.after[i], 1e-7 * std::abs(bound.after[i]));
      EXPECT_EQ(p.version() != version, bound.before != bound.after);
      EXPECT_NO_THROW(op->forward(Tensor::full(shape, 1).to(type), std::span(&p, 1), {}));  // legal again
    }
  }
}

TEST(PoolNumbers, StartWhereTheKeysSay) {
  const auto start = [](const char* config) {
    const auto op = make_pool_operator(json::parse(config));
    Values all;
    for (const ParameterSpec& spec : op->parameters({2, 3, 4, 6})) {
      EXPECT_EQ(spec.kind, ParameterKind::number);
      const Tensor t = Tensor::empty(spec.shape, {.dtype = DType::f64});
      spec.init(t, 5);
      for (double v : t.values()) all.push_back(v);
    }
    return all;
  };
  EXPECT_EQ(start(R"({"type": "lp", "learned": true})"), (Values{2}));
  EXPECT_EQ(start(R"({"type": "gem", "learned": true, "per": "channel"})"), (Values{3, 3, 3}));
  EXPECT_EQ(start(R"({"type": "gem", "learned": true, "p": 5})"), (Values{5}));
  EXPECT_EQ(start(R"({"type": "gem", "p": 5})"), Values{});
  EXPECT_EQ(start(R"({"type": "lse", "learned": true})"), (Values{1}));
  EXPECT_EQ(start(R"({"type": "mixed", "learned": true})"), (Values{0}));
  EXPECT_NEAR(start(R"({"type": "mixed", "learned": true, "t": 0.25})")[0], -std::log(3), 1e-15);
  EXPECT_EQ(start(R"({"type": "gated"})"), Values(4, 0.0));
  EXPECT_EQ(start(R"({"type": "gated", "kernel": [3, 2], "per": "channel"})"), Values(18, 0.0));
  EXPECT_EQ(start(R"({"type": "dpp"})"), (Values{0, 0}));
  EXPECT_EQ(start(R"({"type": "ordinal", "kernel": 3})"), Values(9, 0.0));
  EXPECT_EQ(start(R"({"type": "ada", "per": "place"})"), Values(6, 0.0));
}

TEST(PoolMixed, Draws) {
  const Tensor x = Tensor::from<double>({0, 1, 2, 5}, {1, 1, 2, 2});
  const auto random = make_pool_operator({{"type", "mixed"}, {"random", true}});
  EXPECT_EQ(random->forward(x, {}, {}).item(), 3.5);
  int ones = 0;
  for (uint64_t step = 0; step < 400; ++step) {
    const double y = random->forward(x, {}, {.training = true, .seed = 11, .step = step}).item();
    EXPECT_TRUE(y == 5 || y == 2);
    ones += y == 5;
    if (step == 3) {
      EXPECT_EQ(y, 2);  // what the battery's reference counts on
    }
    EXPECT_EQ(y, random->forward(x, {}, {.training = true, .seed = 11, .step = step}).item());
  }
  EXPECT_NEAR(ones, 200, 40);  // 4 standard deviations
}

TEST(PoolStochastic, DrawsWithTheElementsProbabilities) {
  // One window, many times: 1, 3, 0, 4 of 8.
  const int64_t n = 20000;
  Values v;
  for (int64_t i = 0; i < n; ++i)
    for (const double e : {1.0, 3.0, -2.0, 4.0}) v.push_back(e);
  const Tensor x = Tensor::from<double>(std::span<const double>(v), {n, 1, 2, 2}).to(DType::f32);
  const auto op = make_pool_operator({{"type", "stochastic"}});
  const auto draw = [&](uint64_t seed, uint64_t step) {
    return op->forward(x, {}, {.training = true, .seed = seed, .step = step}).values();
  };
  const Values y = draw(1, 2);
  std::map<double, int> counts;
  for (double e : y) ++counts[e];
  EXPECT_EQ(counts.size(), 3u);
  for (const double e : {1.0, 3.0, 4.0}) {
    const double p = e / 8, deviation = std::sqrt(static_cast<double>(n) * p * (1 - p));
    EXPECT_NEAR(counts[e], static_cast<double>(n) * p, 4 * deviation) << e;
  }
  EXPECT_EQ(y, draw(1, 2));
  EXPECT_NE(y, draw(1, 3));
  EXPECT_NE(y, draw(2, 2));
  for (double e : op->forward(x, {}, {}).values()) EXPECT_EQ(e, 3.25);  // the expectation
}

// The same draws in every layout and type.
TEST(PoolStochastic, DrawsDependOnThePlaceAlone) {
  const auto op = make_pool_operator({{"type", "stochastic"}});
  const PoolMode mode{.training = true, .seed = 9, .step = 1};
  for (const Dims& shape : {Dims{2, 19, 6, 70}, Dims{3, 16, 40}, Dims{1, 5, 4, 6, 8}}) {
    const Tensor x = normal(shape, 4);
    const Values y = op->forward(x, {}, mode).values();
    for (const DType type : {DType::f32, DType::bf16})
      for (const Layout layout : {Layout::plain, Layout::channels_last}) {
        const Values there = op->forward(laid_out(x.to(type), layout), {}, mode).values();
        for (size_t i = 0; i < y.size(); ++i)  // a mean of negative numbers is rounded
          EXPECT_NEAR(there[i], y[i], type == DType::bf16 ? 0.02 : 1e-6);
      }
  }
}

}  // namespace
}  // namespace tidepool::testing
