// Where the published code of SoftPool and AdaPool is no reference, shown: each fault as its description has it, in
// naive f32 loops, beside what the formula gives and what we give.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "layers/pool/operator.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

struct Ours {
  Values y, dx;
};

Ours ours(const nlohmann::json& config, const Tensor& from, const Values& dy = {}) {
  const Tensor x = from.slice(0, 0, from.size(0));
  x.set_requires_grad();
  Tape tape;
  const Tape::Scope scope(&tape);
  const auto op = make_pool_operator(config);
  std::vector<Tensor> parameters;
  for (const ParameterSpec& spec : op->parameters(x.shape())) {
    parameters.push_back(Tensor::empty(spec.shape, {.dtype = x.dtype()}));
    spec.init(parameters.back(), 0);
  }
  const Tensor y = op->forward(x, parameters, {});
  Ours o{.y = y.values(), .dx = {}};
  if (dy.empty()) return o;
  tape.backward(y, Tensor::from<double>(std::span<const double>(dy), y.shape()).to(y.dtype()));
  o.dx = x.grad().values();
  return o;
}

Tensor f32(const Values& v, const Dims& shape) {
  return Tensor::from<double>(std::span<const double>(v), shape).to(DType::f32);
}

/// sum e^x x / sum e^x in f32, with nothing subtracted: the published forward.
float without_maximum(const Values& window) {
  float weights = 0, weighted = 0;
  for (double v : window) weights += std::exp(static_cast<float>(v));
  for (double v : window) weighted += static_cast<float>(v) * (std::exp(static_cast<float>(v)) / weights);
  return weighted;
}

const nlohmann::json kSoft = {{"type", "soft"}};

// The published CPU path sums e^x over the channels of a position, and clamps at 0.
TEST(UpstreamSoftPool, CpuPathSumsOverChannels) {
  const Values x = {-1, -2, -3, -4, /* channel 1 */ 2, 1, 0, -1};
  Values theirs;
  for (size_t c = 0; c < 2; ++c) {
    double weighted = 0, weights = 0;
    for (size_t i = 0; i < 4; ++i) {
      const double over_channels = std::exp(x[i]) + std::exp(x[4 + i]);
      weighted += over_channels * x[4 * c + i];
      weights += over_channels;
    }
    theirs.push_back(std::max(weighted / weights, 0.0));
  }
  const Values y = ours(kSoft, f32(x, {1, 2, 2, 2})).y;
  for (size_t c = 0; c < 2; ++c)
    EXPECT_NEAR(
        y[c],
        without_maximum(Values(x.begin() + 4 * static_cast<int64_t>(c), x.begin() + 4 * static_cast<int64_t>(c + 1))),
        1e-6);
  EXPECT_EQ(theirs[0], 0);  // of negative numbers
  EXPECT_LT(y[0], -1);
  // one channel's result depends on the other there, and not here
  Values other = x;
  for (size_t i = 4; i < 8; ++i) other[i] = -x[i];
  EXPECT_EQ(ours(kSoft, f32(other, {1, 2, 2, 2})).y[0], y[0]);
}

// The published backward is dy w_i: the derivative has one more term, and finite differences say so.
TEST(UpstreamSoftPool, GradientLacksATerm) {
  const Values x = {0.5, -1.25, 2, 0.75}, dy = {1};
  const Tensor map = Tensor::from<double>(std::span<const double>(x), {1, 1, 2, 2});
  const Values full = ours(kSoft, map, dy).dx;
  const Values frozen = ours({{"type", "soft"}, {"grad", "frozen_weights"}}, map, dy).dx;
  double weights = 0, most = 0;
  for (double v : x) weights += std::exp(v);
  for (size_t i = 0; i < 4; ++i) {
    Values up = x, down = x;
    up[i] += 1e-5, down[i] -= 1e-5;
    const double numeric = (ours(kSoft, Tensor::from<double>(std::span<const double>(up), {1, 1, 2, 2})).y[0] -
                            ours(kSoft, Tensor::from<double>(std::span<const double>(down), {1, 1, 2, 2})).y[0]) /
                           2e-5;
    EXPECT_NEAR(full[i], numeric, 1e-8);
    EXPECT_NEAR(frozen[i], std::exp(x[i]) / weights, 1e-12);
    most = std::max(most, std::abs(frozen[i] - numeric));
  }
  EXPECT_GT(most, 0.3);
}

TEST(UpstreamSoftPool, OverflowsWithoutTheMaximum) {
  for (const double large : {89.0, 1e4}) {
    const Values up = {large, large - 1, large - 2, large - 3},
                 down = {-large - 100, -large - 101, -large - 102, -large - 103};
    EXPECT_FALSE(std::isfinite(without_maximum(up)));
    EXPECT_FALSE(std::isfinite(without_maximum(down)));
    const double expected = static_cast<double>(without_maximum({0, -1, -2, -3}));
    EXPECT_NEAR(ours(kSoft, f32(up, {1, 1, 2, 2})).y[0] - large, expected, 1e-7 * large);
    EXPECT_NEAR(ours(kSoft, f32(down, {1, 1, 2, 2})).y[0] + large + 100, expected, 1e-7 * (large + 100));
  }
}

// It has no padding; zeros put there before would be elements, and draw every result towards 0.
TEST(UpstreamSoftPool, PaddingIsAbsence) {
  const Values x = {-3, -4, -5, -6};
  const nlohmann::json padded = {{"type", "soft"}, {"kernel", 2}, {"padding", 1}};
  const Values y = ours(padded, f32(x, {1, 1, 2, 2})).y;
  ASSERT_EQ(y.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(static_cast<float>(y[i]), static_cast<float>(x[i]));
  EXPECT_GT(without_maximum({0, 0, 0, x[0]}), -0.1f);
  const Ours gradient = ours(padded, f32(x, {1, 1, 2, 2}), {1, 2, 3, 4});
  EXPECT_EQ(gradient.dx, (Values{1, 2, 3, 4}));
}

// Kernel 3, stride 2 on 6 positions: the published kernel reads a seventh for its last window (of the next row, or of
// no row). Here an output is what its window's elements give, and a window that hangs over has fewer.
TEST(UpstreamSoftPool, EdgeOfKernelThreeStrideTwo) {
  const Values x = {1, 2, 3, 4, 5, 6};
  const Values floor = ours({{"type", "soft"}, {"kernel", 3}, {"stride", 2}}, f32(x, {1, 1, 6})).y;
  ASSERT_EQ(floor.size(), 2u);
  const Values ceil = ours({{"type", "soft"}, {"kernel", 3}, {"stride", 2}, {"ceil_mode", true}}, f32(x, {1, 1, 6})).y;
  ASSERT_EQ(ceil.size(), 3u);
  const double expected = static_cast<double>(without_maximum({5, 6}));
  EXPECT_NEAR(ceil[2], expected, 1e-5);
  EXPECT_GT(std::abs(static_cast<double>(without_maximum({5, 6, 7})) - expected), 0.5);  // a neighbour's row
  // the rows behind it do not matter, be they NaN
  Values rows = x;
  for (int i = 0; i < 6; ++i) rows.push_back(NAN);
  const Values two =
      ours({{"type", "soft"}, {"kernel", {1, 3}}, {"stride", {1, 2}}, {"ceil_mode", true}}, f32(rows, {1, 1, 2, 6})).y;
  EXPECT_NEAR(two[2], expected, 1e-5);
  EXPECT_TRUE(std::isnan(two[3]));
}

// The published module replaces NaN by 0, which hides that a network has diverged.
TEST(UpstreamSoftPool, NanStaysNan) {
  for (const char* type : {"soft", "em", "edscw", "ada"}) {
    const Values y = ours({{"type", type}}, f32({1, NAN, 2, 3, 1, 2, 3, 4}, {1, 2, 2, 2})).y;
    EXPECT_TRUE(std::isnan(y[0])) << type;
    EXPECT_TRUE(std::isfinite(y[1])) << type;
  }
}

// 2 |x a| / (x^2 + a^2) is 0/0 in a window of zeros.
TEST(UpstreamAdaPool, ZerosGiveZero) {
  const float x = 0, a = 0;
  EXPECT_TRUE(std::isnan(2 * std::abs(x * a) / (x * x + a * a)));
  for (const char* type : {"edscw", "ada"}) {
    const Ours zeros = ours({{"type", type}}, f32(Values(16, 0.0), {1, 1, 4, 4}), {1, 2, 3, 4});
    EXPECT_EQ(zeros.y, Values(4, 0.0)) << type;
    for (size_t i = 0; i < 16; ++i)
      EXPECT_NEAR(zeros.dx[i], 0.25 * static_cast<double>(1 + i / 8 * 2 + i % 4 / 2), 1e-6) << type;
    // and so small that their squares vanish
    const Values y = ours({{"type", type}}, f32({2e-30, 1e-30, 1e-30, 4e-30}, {1, 1, 2, 2})).y;
    EXPECT_GT(y[0], 1e-30);
    EXPECT_LT(y[0], 4e-30);
  }
}

}  // namespace
}  // namespace tidepool::testing
