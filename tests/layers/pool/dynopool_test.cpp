// What dynopool promises beyond its battery.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/allocator.h"
#include "layers/pool/operator.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

using nlohmann::json;

struct Step {
  Tensor y, dx, dalpha;
};

Step step(const PoolOperator& op, const Tensor& from, const std::vector<double>& alpha, const Tensor& dy) {
  const Tensor x = from.slice(0, 0, from.size(0));
  x.set_requires_grad();
  std::vector<Tensor> parameters;
  if (!alpha.empty()) {
    parameters.push_back(Tensor::from<double>(alpha, {static_cast<int64_t>(alpha.size())}));
    parameters.back().set_requires_grad();
  }
  Tape tape;
  const Tape::Scope scope(&tape);
  Step s;
  s.y = op.forward(x, parameters, {});
  tape.backward(s.y, dy.to(s.y.dtype()));
  s.dx = x.grad();
  if (!alpha.empty()) s.dalpha = parameters[0].grad();
  return s;
}

// At its start, on even lengths, it is 2x2 max pooling bit for bit, ties and NaN included.
TEST(DynoPool, StartsAsMaxPooling) {
  const auto dynopool = make_pool_operator({{"type", "dynopool"}}), max = make_pool_operator({{"type", "max"}});
  for (const Dims& shape : {Dims{2, 19, 8, 34}, Dims{3, 4, 12}, Dims{1, 17, 4, 6, 8}})
    for (DType type : {DType::f64, DType::f32, DType::bf16})
      for (Layout layout : {Layout::plain, Layout::channels_last}) {
        const Tensor data = normal(shape, 5).to(type);
        const Tensor x = laid_out(data, layout);
        const std::vector<double> alpha(static_cast<size_t>(shape.rank() - 2), 2.0);
        const Tensor dy = laid_out(normal(max->output_shape(shape, {}), 6).to(type), layout);
        const Step a = step(*dynopool, x, alpha, dy), b = step(*max, x, {}, dy);
        EXPECT_TRUE(same_bits(a.y, b.y)) << shape.str();
        EXPECT_TRUE(same_bits(a.dx, b.dx)) << shape.str();
      }
}

// The plain kernels give the very bits of the window kernels that stand in for them at a = 2: an odd third axis, or a
// learned offset that is not quite 1/4, keeps the variant out.
TEST(DynoPool, TheTunedVariantIsThePlainOne) {
  const Tensor even = normal({2, 5, 8, 12}, 7).to(DType::f32);
  // two copies of the map as depth: n = 2, a = 1 there, so that depth has four samples of which pairs are equal
  const Tensor deep = Tensor::empty({2, 5, 1, 8, 12});
  deep.copy_from(even.reshape({2, 5, 1, 8, 12}));
  const auto op = make_pool_operator({{"type", "dynopool"}});
  const Tensor dy = normal({2, 5, 4, 6}, 8).to(DType::f32);
  const Step tuned = step(*op, even, {2, 2}, dy), plain = step(*op, deep, {1, 2, 2}, dy.reshape({2, 5, 1, 4, 6}));
  EXPECT_EQ(tuned.y.values(), plain.y.values());
  EXPECT_EQ(tuned.dx.values(), plain.dx.values());
}

// On plain memory lanes are windows along W, the ends of the map among them, and what is left of a run goes one by one;
// on channels-last memory they are channels.
TEST(DynoPool, ShapesLearnTheSameFromEitherLayout) {
  for (const Dims& shape : {Dims{2, 3, 32}, Dims{2, 3, 6, 36}, Dims{1, 2, 4, 6, 64}, Dims{1, 3, 4, 70}})
    for (const char* derivative : {"central", "right"})
      for (const char* offset : {"fixed", "learned"}) {
        const auto op = make_pool_operator({{"type", "dynopool"}, {"node_derivative", derivative}, {"offset", offset}});
        const bool learned = offset == std::string_view("learned");
        const auto rank = static_cast<size_t>(shape.rank() - 2);
        const Tensor x = normal(shape, 5);
        const auto gradients = [&](DType type, MemoryFormat format) {
          std::vector<Tensor> parameters{Tensor::from<double>(Values(rank, 2), {shape.rank() - 2})};
          if (learned) parameters.push_back(Tensor::from<double>(Values(rank, 0.25), {shape.rank() - 2}));
          for (const Tensor& p : parameters) p.set_requires_grad();
          const Tensor map = x.contiguous(format).to(type);
          Tape tape;
          const Tape::Scope scope(&tape);
          const Tensor y = op->forward(map, parameters, {});
          tape.backward(y, normal(y.shape(), 6).to(type));
          Values all = parameters[0].grad().values();
          if (learned)
            for (const double v : parameters[1].grad().values()) all.push_back(v);
          return all;
        };
        const Values expected = gradients(DType::f64, MemoryFormat::channels_last);
        EXPECT_LE(error(gradients(DType::f64, MemoryFormat::plain), expected), 1e-13) << shape.str() << derivative;
        EXPECT_LE(error(gradients(DType::f32, MemoryFormat::plain), expected), 2e-6) << shape.str() << derivative;
        // the winners of values that bf16 makes equal may be others, so of its own map
        const Values rounded = gradients(DType::bf16, MemoryFormat::channels_last);
        EXPECT_LE(error(gradients(DType::bf16, MemoryFormat::plain), rounded), 2e-6) << shape.str() << derivative;
      }
}

TEST(DynoPool, ANeighbourOfWeightZeroIsNotRead) {
  const auto op = make_pool_operator({{"type", "dynopool"}});
  Values v(12, 1.0);
  v[2] = NAN;  // n = 12, a = 6: samples at pixels 1, 4, 7, 10
  const Values y =
      op->forward(Tensor::from<double>(v, {1, 1, 12}), std::vector{Tensor::from<double>({6.0}, {1})}, {}).values();
  EXPECT_EQ(y, (Values{1, 1}));
}

TEST(DynoPool, ProjectsAfterAStep) {
  const auto op = make_pool_operator({{"type", "dynopool"}, {"r_min", 0.25}, {"r_max", 1}});
  const Tensor alpha = Tensor::from<float>({0.5f, 9.0f}, {2});
  const uint64_t version = alpha.version();
  op->project(std::vector{alpha}, {1, 1, 8, 8});
  EXPECT_EQ(alpha.values(), (Values{1, 4}));
  EXPECT_GT(alpha.version(), version);
}

TEST(DynoPool, TracesItsLengths) {
  const auto op = make_pool_operator({{"type", "dynopool"}, {"tied", true}});
  const Tensor alpha = Tensor::from<double>({1.6}, {1});
  Trace trace;
  const TracedShape y = op->trace(TracedShape::of({2, 3, 10, 7}), std::vector{alpha}, "pool1", trace);
  ASSERT_EQ(y.dims(), (Dims{2, 3, 6, 4}));  // 6.25, 4.375
  for (size_t i : {0u, 1u}) {
    ASSERT_EQ(y.lengths[i].slopes.size(), 1u);
    EXPECT_EQ(y.lengths[i].slopes[0].element, 0);
    EXPECT_DOUBLE_EQ(y.lengths[i].slopes[0].value, -(i == 0 ? 10 : 7) / (1.6 * 1.6));
  }
  // A second one behind it: the slopes multiply.
  const TracedShape z = op->trace(y, std::vector{alpha}, "pool2", trace);
  EXPECT_DOUBLE_EQ(z.lengths[0].slopes[0].value, -10 / (1.6 * 1.6) / 1.6 - 6 / (1.6 * 1.6));
}

// The gradient of alpha against the loss itself. As alpha moves, the loss is a staircase: it changes only where n /
// alpha crosses a half and m changes. What a straight-through gradient should be right about is the mean slope over
// whole steps of these stairs. The loss reads the output as a network does, by positions relative to what stays put
// when the cell grows (design: "anchor"): L = sum_i c(u_i) y_i with a smooth bump c and u_i = i + 1/2 - m/2 (center) or
// i + 1/2 (origin). So L is, up to the sampling of a smooth function, one of the cell alone, and the mean of d L / d
// alpha over an interval that holds whole steps must be (L(a2) - L(a1)) / (a2 - a1).
TEST(DynoPool, GradientIsTheMeanSlopeOverWholeSteps) {
  constexpr int64_t n = 128;
  constexpr double kTurn = 6.283185307179586;
  const int threads = cpu_threads();
  set_cpu_threads(1);  // the maps are tiny
  for (const char* anchor : {"center", "origin"}) {
    const auto op = make_pool_operator({{"type", "dynopool"}, {"anchor", anchor}});
    const bool center = std::string(anchor) == "center";
    Random random(11, 3);
    double wrong = 0, size = 0;
    for (int trial = 0; trial < 6; ++trial) {
      Values x(n);
      for (int wave = 1; wave <= 6; ++wave) {
        const double amplitude = random.normal(), phase = kTurn * random.uniform();
        for (int64_t i = 0; i < n; ++i)
          x[static_cast<size_t>(i)] += amplitude * std::sin(kTurn * wave * (static_cast<double>(i) + 0.5) / n + phase);
      }
      const Tensor map = Tensor::from<double>(x, {1, 1, n});
      const auto evaluate = [&](double a, double* slope) {
        const int64_t m = op->output_shape({1, 1, n}, std::vector{Tensor::from<double>({a}, {1})})[2];
        Values c(static_cast<size_t>(m));
        for (int64_t i = 0; i < m; ++i) {
          const double u = static_cast<double>(i) + 0.5 - (center ? static_cast<double>(m) / 2 : 20);
          c[static_cast<size_t>(i)] = std::exp(-(u - 4) * (u - 4) / 18) - 0.5 * std::exp(-(u + 6) * (u + 6) / 18);
        }
        const Step s = step(*op, map, {a}, Tensor::from<double>(c, {1, 1, m}));
        const Values y = s.y.values();
        double loss = 0;
        for (size_t i = 0; i < y.size(); ++i) loss += c[i] * y[i];
        if (slope) *slope = s.dalpha.values()[0];
        return loss;
      };
      constexpr int kCount = 400;
      const double from = n / 72.0, to = n / 56.0;  // m from 72 to 56: 16 whole steps, from middle to middle
      double mean = 0;
      for (int i = 0; i < kCount; ++i) {
        double slope = 0;
        evaluate(from + (to - from) * (i + 0.5) / kCount, &slope);
        mean += slope / kCount;
      }
      const double actual = (evaluate(to, nullptr) - evaluate(from, nullptr)) / (to - from);
      std::printf("%s: mean of d L / d alpha %8.4f, slope of L over 16 steps %8.4f\n", anchor, mean, actual);
      wrong += (mean - actual) * (mean - actual);
      size += actual * actual;
    }
    std::printf("%s: relative difference %.4f\n", anchor, std::sqrt(wrong / size));
    EXPECT_LT(std::sqrt(wrong / size), 0.02) << anchor;
  }
  set_cpu_threads(threads);
}

// Sizes that change every step take nothing from the system once the classes are filled.
TEST(DynoPool, ChangingSizesStayInTheCache) {
  const auto op = make_pool_operator({{"type", "dynopool"}});
  const Tensor x = normal({2, 16, 32, 32}, 1).to(DType::f32);
  const auto round = [&] {
    for (int i = 0; i < 40; ++i) {
      const double a = 1.2 + 0.05 * i;
      const Dims out = op->output_shape(x.shape(), std::vector{Tensor::from<double>({a, a}, {2})});
      step(*op, x, {a, a}, Tensor::full(out, 1));
    }
  };
  round();
  const uint64_t calls = Allocator::of(kCpu).stats().system_calls;
  round();
  EXPECT_EQ(Allocator::of(kCpu).stats().system_calls, calls);
}

}  // namespace
}  // namespace tidepool::testing
