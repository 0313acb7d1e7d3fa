// Our own depthwise convolutions against the f64 reference.
#include "core/depthwise.h"

#include <omp.h>

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

// Channels that are no whole vectors, maps smaller than the kernel, every padding, odd lengths under stride 2.
const std::vector<Case> kCases{{1, 5, 9, 10, 5, 1, 2, 2},   {2, 17, 2, 3, 5, 1, 4, 3}, {3, 24, 1, 1, 5, 1, 2, 2},
                               {2, 16, 11, 6, 5, 2, 2, 1},  {1, 3, 2, 2, 5, 2, 2, 4},  {9, 48, 33, 17, 5, 2, 2, 2},
                               {7, 19, 31, 33, 5, 1, 1, 0}, {2, 33, 8, 8, 5, 2, 0, 3}};

struct Gradient {
  Tensor dw, dbias;
};

Gradient by(const DnnTable& table, const Case& c, const Tensor& x, const Tensor& dy, DType weights) {
  poison();
  const Gradient g{Tensor::empty(c.w(), {weights}), Tensor::empty({c.channels}, {weights})};
  EXPECT_TRUE(table.conv_backward_weights(x, dy, c.options(), g.dw, g.dbias)) << c.str();
  return g;
}

Tensor map(const Dims& shape, uint64_t seed, DType t) {
  return normal(shape, seed).contiguous(kLast).to(t);
}

TEST(Depthwise, AgreesWithTheReference) {
  for (const Case& c : kCases)
    for (const DType t : {DType::f32, DType::bf16}) {
      const Tensor x = map(c.x(), 1, t), dy = map(c.y(), 2, t);
      const Gradient expected = by(reference_table(), c, x.to(DType::f64), dy.to(DType::f64), DType::f64);
      const Gradient got = by(depthwise_table(), c, x, dy, DType::f32);
      EXPECT_LE(error(got.dw.values(), expected.dw.values()), 1e-6) << c.str();
      EXPECT_LE(error(got.dbias.values(), expected.dbias.values()), 1e-6) << c.str();
    }
}

TEST(Depthwise, TheSameBitsForAnyNumberOfThreads) {
  const int before = omp_get_max_threads();
  for (const Case& c : kCases) {
    const Tensor x = map(c.x(), 1, DType::f32), dy = map(c.y(), 2, DType::f32);
    omp_set_num_threads(1);
    const Gradient one = by(depthwise_table(), c, x, dy, DType::f32);
    for (const int threads : {2, 3, 8}) {
      omp_set_num_threads(threads);
      const Gradient many = by(depthwise_table(), c, x, dy, DType::f32);
      EXPECT_TRUE(same_bits(one.dw, many.dw) && same_bits(one.dbias, many.dbias)) << c.str() << threads;
    }
  }
  omp_set_num_threads(before);
}

TEST(Depthwise, ServesWhatItSaysAndNothingElse) {
  const Tensor x = Tensor::empty({1, 16, 8, 8}, {.format = kLast}), w = Tensor::empty({16, 1, 5, 5});
  EXPECT_TRUE(depthwise::serves(x, w, {.padding = {2, 2, 0}, .groups = 16}));
  EXPECT_FALSE(depthwise::serves(Tensor::empty({1, 16, 8, 8}), w, {.groups = 16})) << "plain";
  EXPECT_FALSE(depthwise::serves(x, Tensor::empty({32, 1, 5, 5}), {.groups = 16})) << "two outputs a channel";
  EXPECT_FALSE(depthwise::serves(x, Tensor::empty({16, 1, 3, 3}), {.groups = 16})) << "the library is faster";
  EXPECT_FALSE(depthwise::serves(x, w, {.stride = {3, 3, 1}, .groups = 16}));
  EXPECT_FALSE(depthwise::serves(x, w, {.dilation = {2, 2, 1}, .groups = 16}));
  EXPECT_FALSE(depthwise::serves(x, w, {.padding = {5, 5, 0}, .groups = 16}));
}

}  // namespace
}  // namespace tidepool::testing
