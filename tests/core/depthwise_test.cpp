// Our own depthwise convolutions against the f64 reference.
#include "core/cpu/depthwise.h"

#include <omp.h>

#include "core/cpu/tables.h"
#include "core/reference/tables.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

constexpr auto kLast = MemoryFormat::channels_last;

struct Case {
  int64_t images, channels, height, width, kernel, stride, pad_h, pad_w;

  Dims x() const { return {images, channels, height, width}; }
  Dims w() const { return {channels, 1, kernel, kernel}; }
  Dims y() const {
    return {images, channels, (height + 2 * pad_h - kernel) / stride + 1, (width + 2 * pad_w - kernel) / stride + 1};
  }
  ConvOptions options() const {
    return {.stride = {stride, stride, 1}, .padding = {pad_h, pad_w, 0}, .groups = channels};
  }
  std::string str() const {
    return fmt::format("{} {} stride {} padding {} {}", x().str(), w().str(), stride, pad_h, pad_w);
  }
};

// Channels that are no whole vectors, maps smaller than the kernel, every padding, odd lengths under stride 2, rows of
// every remainder; the last two are stored non-temporally.
const std::vector<Case> kCases{{1, 5, 9, 10, 5, 1, 2, 2},   {2, 17, 2, 3, 5, 1, 4, 3},   {3, 24, 1, 1, 5, 1, 2, 2},
                               {2, 16, 11, 6, 5, 2, 2, 1},  {1, 3, 2, 2, 5, 2, 2, 4},    {9, 48, 33, 17, 5, 2, 2, 2},
                               {7, 19, 31, 33, 5, 1, 1, 0}, {2, 33, 8, 8, 5, 2, 0, 3},   {1, 5, 9, 10, 3, 1, 1, 1},
                               {2, 17, 1, 2, 3, 1, 2, 1},   {3, 24, 1, 1, 3, 2, 1, 1},   {2, 130, 11, 7, 3, 2, 1, 0},
                               {2, 16, 14, 28, 3, 1, 0, 1}, {3, 20, 12, 15, 3, 2, 2, 2}, {1, 144, 7, 7, 3, 1, 1, 1},
                               {1, 8, 13, 31, 3, 1, 0, 0},  {8, 64, 80, 81, 3, 1, 1, 1}, {9, 32, 105, 104, 5, 2, 2, 2}};

struct Results {
  Tensor y, dx, dw, dbias;
};

Tensor map(const Dims& shape, uint64_t seed, DType t) {
  return normal(shape, seed).contiguous(kLast).to(t);
}

// All three directions; weights and biases of `weights`.
Results by(const ConvTable& table, const Case& c, DType t, DType weights) {
  const Tensor x = map(c.x(), 1, t), dy = map(c.y(), 2, t), w = normal(c.w(), 3).to(weights),
               bias = normal({c.channels}, 4).to(weights);
  poison();
  const Results r{Tensor::empty(c.y(), {t, kLast}), Tensor::empty(c.x(), {t, kLast}), Tensor::empty(c.w(), {weights}),
                  Tensor::empty({c.channels}, {weights})};
  EXPECT_TRUE(table.forward(x, w, bias, c.options(), r.y)) << c.str();
  EXPECT_TRUE(table.backward_data(dy, w, c.options(), r.dx)) << c.str();
  EXPECT_TRUE(table.backward_weights(x, dy, c.options(), r.dw, r.dbias)) << c.str();
  return r;
}

TEST(Depthwise, AgreesWithTheReference) {
  for (const Case& c : kCases) {
    const Results expected = by(reference::kConv, c, DType::f64, DType::f64);
    const Results got = by(cpu::kDepthwiseConv, c, DType::f32, DType::f32);
    EXPECT_LE(error(got.y.values(), expected.y.values()), 1e-6) << c.str();
    EXPECT_LE(error(got.dx.values(), expected.dx.values()), 1e-6) << c.str();
    EXPECT_LE(error(got.dw.values(), expected.dw.values()), 2e-6) << c.str();
    EXPECT_LE(error(got.dbias.values(), expected.dbias.values()), 2e-6) << c.str();
  }
}

TEST(Depthwise, MapsOfBf16AreSummedInF32) {
  for (const Case& c : kCases) {
    const Tensor x = map(c.x(), 1, DType::bf16), dy = map(c.y(), 2, DType::bf16), w = normal(c.w(), 3).to(DType::f32);
    const auto run = [&](DType t) {
      Results r{Tensor::empty(c.y(), {t, kLast}), Tensor::empty(c.x(), {t, kLast}), Tensor::empty(c.w()),
                Tensor::empty({c.channels})};
      EXPECT_TRUE(cpu::kDepthwiseConv.forward(x.to(t), w, {}, c.options(), r.y)) << c.str();
      EXPECT_TRUE(cpu::kDepthwiseConv.backward_data(dy.to(t), w, c.options(), r.dx)) << c.str();
      EXPECT_TRUE(cpu::kDepthwiseConv.backward_weights(x.to(t), dy.to(t), c.options(), r.dw, r.dbias)) << c.str();
      return r;
    };
    const Results wide = run(DType::f32), narrow = run(DType::bf16);
    EXPECT_TRUE(same_bits(narrow.y, wide.y.to(DType::bf16))) << c.str();
    EXPECT_TRUE(same_bits(narrow.dx, wide.dx.to(DType::bf16))) << c.str();
    EXPECT_TRUE(same_bits(narrow.dw, wide.dw) && same_bits(narrow.dbias, wide.dbias)) << c.str();
  }
}

TEST(Depthwise, PixelsOutsideTheMapAreNotRead) {
  // One NaN of x reaches the results whose windows hold it and no other.
  for (const int64_t stride : {1, 2}) {
    const Case c{1, 16, 9, 9, 3, stride, 1, 1};
    const Tensor x = map(c.x(), 1, DType::f32), w = normal(c.w(), 3).to(DType::f32);
    x.mutable_data<float>()[(4 * 9 + 8) * 16] = NAN;  // row 4, the last column, channel 0
    const Tensor y = Tensor::empty(c.y(), {DType::f32, kLast});
    EXPECT_TRUE(cpu::kDepthwiseConv.forward(x, w, {}, c.options(), y));
    const int64_t n = c.y()[2];
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const bool holds = std::abs(i * stride - 4) <= 1 && std::abs(j * stride - 8) <= 1;
        EXPECT_EQ(std::isnan(y.data<float>()[(i * n + j) * 16]), holds) << i << " " << j;
        EXPECT_FALSE(std::isnan(y.data<float>()[(i * n + j) * 16 + 1]));
      }
  }
}

TEST(Depthwise, TheSameBitsForAnyNumberOfThreads) {
  const int before = omp_get_max_threads();
  for (const Case& c : kCases) {
    omp_set_num_threads(1);
    const Results one = by(cpu::kDepthwiseConv, c, DType::f32, DType::f32);
    for (const int threads : {2, 3, 8}) {
      omp_set_num_threads(threads);
      const Results many = by(cpu::kDepthwiseConv, c, DType::f32, DType::f32);
      EXPECT_TRUE(same_bits(one.y, many.y) && same_bits(one.dx, many.dx)) << c.str() << threads;
      EXPECT_TRUE(same_bits(one.dw, many.dw) && same_bits(one.dbias, many.dbias)) << c.str() << threads;
    }
  }
  omp_set_num_threads(before);
}

TEST(Depthwise, ServesWhatItSaysAndNothingElse) {
  const Tensor x = Tensor::empty({1, 16, 8, 8}, {.format = kLast}), w = Tensor::empty({16, 1, 5, 5});
  EXPECT_TRUE(depthwise::serves(x, w, {.padding = {2, 2, 0}, .groups = 16}));
  EXPECT_TRUE(depthwise::serves(x, Tensor::empty({16, 1, 3, 3}), {.stride = {2, 2, 1}, .groups = 16}));
  EXPECT_FALSE(depthwise::serves(Tensor::empty({1, 16, 8, 8}), w, {.groups = 16})) << "plain";
  EXPECT_FALSE(depthwise::serves(x, Tensor::empty({32, 1, 5, 5}), {.groups = 16})) << "two outputs a channel";
  EXPECT_FALSE(depthwise::serves(x, Tensor::empty({16, 1, 7, 7}), {.groups = 16}));
  EXPECT_FALSE(depthwise::serves(x, Tensor::empty({16, 1, 3, 5}), {.groups = 16}));
  EXPECT_FALSE(depthwise::serves(x, w, {.stride = {3, 3, 1}, .groups = 16}));
  EXPECT_FALSE(depthwise::serves(x, w, {.stride = {1, 2, 1}, .groups = 16}));
  EXPECT_FALSE(depthwise::serves(x, w, {.dilation = {2, 2, 1}, .groups = 16}));
  EXPECT_FALSE(depthwise::serves(x, w, {.padding = {5, 5, 0}, .groups = 16}));
}

}  // namespace
}  // namespace tidepool::testing
