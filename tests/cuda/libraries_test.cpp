// Convolutions by cuDNN and matrix products by cublasLt beside the CPU's in f64: on the simulated device by the
// stand-ins, and by the libraries where a GPU is (tests_gpu, which tools/gpu_check runs).
#include <gtest/gtest.h>

#include "core/backend/caches.h"
#include "core/backend/libraries.h"
#include "core/backend/matmul.h"
#include "core/cuda/cublaslt.h"
#include "core/cuda/cudnn.h"
#include "tests/cuda/conv_on_device.h"

namespace tidepool::testing {
namespace {

const std::vector<ConvCase>& conv_cases() {
  static const std::vector<ConvCase> cases = {
      {"3x3", {2, 8, 7, 6}, {16, 8, 3, 3}, {.padding = {1, 1}}},
      {"odd channels", {2, 3, 9, 5}, {5, 3, 3, 3}, {.padding = {1, 1}}},
      {"1x1", {3, 16, 5, 4}, {8, 16, 1, 1}, {}},
      {"stride that leaves rows over", {2, 4, 8, 9}, {8, 4, 3, 3}, {.stride = {2, 3}, .padding = {0, 1}}},
      {"dilation", {1, 4, 11, 9}, {4, 4, 3, 3}, {.padding = {2, 1}, .dilation = {2, 3}}},
      {"groups", {2, 8, 6, 5}, {12, 2, 3, 3}, {.padding = {1, 1}, .groups = 4}},
      {"depthwise", {2, 8, 7, 7}, {8, 1, 5, 5}, {.stride = {2, 2}, .padding = {2, 2}, .groups = 8}},
      {"7x7 of a stem", {1, 3, 20, 18}, {8, 3, 7, 7}, {.stride = {2, 2}, .padding = {3, 3}}},
      {"one axis", {2, 4, 13}, {6, 4, 3}, {.stride = {2}, .padding = {1}}},
      {"three axes", {1, 4, 5, 4, 6}, {4, 2, 3, 1, 3}, {.padding = {1, 0, 1}, .groups = 2}},
      {"one position", {4, 8, 1, 1}, {16, 8, 1, 1}, {}},
  };
  return cases;
}

TEST(LibrariesOnCuda, ConvolutionsAreTheCpus) {
  for (const ConvCase& c : conv_cases()) {
    const Results expected = convolve(c, DType::f64, DType::f64, MemoryFormat::plain, kCpu);
    for (const auto& [maps, weights] : {std::pair(DType::f32, DType::f32), std::pair(DType::bf16, DType::f32),
                                        std::pair(DType::bf16, DType::bf16), std::pair(DType::f64, DType::f64)})
      for (const MemoryFormat format : {MemoryFormat::channels_last, MemoryFormat::plain}) {
        SCOPED_TRACE(fmt::format("{}, maps {}, weights {}, {}", c.name, name_of(maps), name_of(weights),
                                 tidepool::name_of(format)));
        const Results got = convolve(c, maps, weights, format, kCuda);
        EXPECT_LT(error(values_of(got.y), expected.y.values()), tolerance(maps));
        EXPECT_LT(error(values_of(got.dx), expected.dx.values()), tolerance(maps));
        EXPECT_LT(error(values_of(got.dw), expected.dw.values()), tolerance(maps));
        const Results again = convolve(c, maps, weights, format, kCuda);
        EXPECT_TRUE(same_bits(got.y.to(kCpu), again.y.to(kCpu)));
        EXPECT_TRUE(same_bits(got.dx.to(kCpu), again.dx.to(kCpu)));
        EXPECT_TRUE(same_bits(got.dw.to(kCpu), again.dw.to(kCpu)));
      }
  }
}

TEST(LibrariesOnCuda, ABiasIsAddedPerChannel) {
  for (const Dims& x : {Dims{2, 8, 5, 4}, Dims{3, 5, 4, 3}, Dims{2, 4, 300}})
    for (const DType type : {DType::f32, DType::bf16, DType::f64})
      for (const MemoryFormat format : {MemoryFormat::channels_last, MemoryFormat::plain})
        for (const int64_t out : {16, 5}) {
          Dims k = Dims::filled(x.rank(), 1);
          k[0] = out, k[1] = x[1];
          const DType weights = type == DType::bf16 ? DType::f32 : type;
          const Tensor w = normal(k, 2).to(weights), bias = normal({out}, 3).to(weights),
                       in = normal(x, 1).to(type).contiguous(format);
          const Tensor expected = convolution(in.to(DType::f64), w.to(DType::f64), bias.to(DType::f64));
          const Tensor got = convolution(in.to(kCuda), w.to(kCuda), bias.to(kCuda));
          EXPECT_LT(error(values_of(got), expected.values()), 2 * tolerance(type))
              << x.str() << " " << name_of(type) << " " << name_of(format) << " " << out;
        }
}

// A layer's weights are f32: they are rounded and laid out once, and their gradient is f32 and plain again.
TEST(LibrariesOnCuda, AConvolutionLayerTrainsF32Weights) {
  for (const DType type : {DType::f32, DType::bf16}) {
    const auto gradients = [&](Device device) {
      const Tensor x = normal({2, 8, 6, 5}, 1).to(type).contiguous(MemoryFormat::channels_last).to(device),
                   w = normal({16, 8, 3, 3}, 2, 0.3).to(DType::f32).to(device);
      x.set_requires_grad(), w.set_requires_grad();
      Tape tape;
      const Tensor y = [&] {
        const Tape::Scope scope(&tape);
        return convolution(x, w, {}, {.padding = {1, 1}});
      }();
      tape.backward(y, normal({2, 16, 6, 5}, 3).to(type).contiguous(MemoryFormat::channels_last).to(device));
      return std::pair(x.grad().to(kCpu), w.grad().to(kCpu));
    };
    const auto [dx, dw] = gradients(kCuda);
    const auto [expected_dx, expected_dw] = gradients(kCpu);
    EXPECT_EQ(dw.dtype(), type);  // as it comes out of the library; the optimizer reads it so
    EXPECT_LT(error(dx.values(), expected_dx.values()), tolerance(type));
    EXPECT_LT(error(dw.values(), expected_dw.values()), tolerance(type));
  }
}

TEST(LibrariesOnCuda, Tf32IsAKey) {
  const ConvCase c{"3x3", {1, 4, 6, 5}, {4, 4, 3, 3}, {.padding = {1, 1}}};
  const auto run = [&] {
    const Tensor x = Tensor::from<double>(Values(120, 1.0 + 0x1p-13), c.x).to(kCuda),
                 w = Tensor::from<double>(Values(144, 1.0), c.w).to(kCuda), y = Tensor::empty(c.x, x.options());
    conv_forward(x.to(DType::f32), w.to(DType::f32), {}, c.options, y);
    return y.values()[7];
  };
  const auto product = [&] {
    const Tensor a = Tensor::full({4, 8}, 1.0 + 0x1p-13, {.device = kCuda}), b = Tensor::full({8, 4}, 1, a.options()),
                 y = Tensor::empty({4, 4}, a.options());
    matmul(a, b, {}, y);
    return y.values()[0];
  };
  EXPECT_EQ(product(), 8 * (1.0 + 0x1p-13));
  const double exact = run();
  library_settings().tf32 = true;
  const double rounded = run(), rounded_product = product();
  library_settings().tf32 = false;
  EXPECT_NE(exact, std::round(exact));
  EXPECT_EQ(rounded, std::round(exact));
  EXPECT_EQ(rounded_product, 8);
}

TEST(LibrariesOnCuda, ViewsThatBeginAnywhereAreServed) {
  const Tensor whole = normal({3, 5, 3, 3}, 4).to(DType::bf16), w = normal({4, 5, 3, 3}, 5).to(DType::bf16);
  const Tensor part = whole.to(kCuda).slice(0, 1, 1);  // 90 bytes behind the beginning
  ASSERT_NE(reinterpret_cast<uintptr_t>(part.raw()) % 16, 0u);
  const Tensor y = Tensor::empty({1, 4, 1, 1}, part.options());
  conv_forward(part, w.to(kCuda), {}, {}, y);
  const Tensor expected = convolution(whole.slice(0, 1, 1).contiguous().to(DType::f64), w.to(DType::f64), {});
  EXPECT_LT(error(values_of(y), expected.values()), tolerance(DType::bf16));
}

TEST(LibrariesOnCuda, PlansAreKeptByShape) {
  cudnn::forget_plans();
  const ConvCase c{"3x3", {2, 8, 7, 6}, {16, 8, 3, 3}, {.padding = {1, 1}}};
  const auto made = [] {
    CacheStats stats;
    cudnn::add_to(stats);
    return stats.primitives_made;
  };
  convolve(c, DType::bf16, DType::bf16, MemoryFormat::channels_last, kCuda);
  const int64_t first = made();
  convolve(c, DType::bf16, DType::bf16, MemoryFormat::channels_last, kCuda);
  EXPECT_EQ(made(), first);
  ConvCase other = c;
  other.x[3] = 9;
  convolve(other, DType::bf16, DType::bf16, MemoryFormat::channels_last, kCuda);
  EXPECT_EQ(made(), first + 3);
}

TEST(LibrariesOnCuda, ProductsAreTheCpus) {
  struct Product {
    int64_t rows, inner, columns;
  };
  for (const auto& [m, k, n] : {Product{4, 8, 16}, {3, 5, 7}, {1, 9, 4}, {6, 1, 2}, {5, 4, 1}, {1, 1, 1}, {17, 33, 10}})
    for (const DType in : {DType::f32, DType::bf16})
      for (const DType out : {DType::f32, DType::bf16}) {
        if (in == DType::f32 && out == DType::bf16) continue;
        for (const bool turned_a : {false, true})
          for (const bool turned_b : {false, true})
            for (const int bias : {0, 1, 2}) {
              const auto factor = [&](int64_t rows, int64_t columns, bool turned, uint64_t seed) {
                return turned ? normal({columns, rows}, seed).to(in).permute({1, 0})
                              : normal({rows, columns}, seed).to(in);
              };
              const Tensor a = factor(m, k, turned_a, 1), b = factor(k, n, turned_b, 2),
                           c = bias == 0   ? Tensor()
                               : bias == 1 ? normal({n}, 3).to(DType::f32)
                                           : normal({n}, 3).to(out);
              const Tensor expected = Tensor::empty({m, n}, {.dtype = DType::f64}),
                           got = Tensor::empty({m, n}, {.dtype = out, .device = kCuda});
              const auto wide = [](const Tensor& t) { return t.contiguous(MemoryFormat::plain).to(DType::f64); };
              matmul(wide(a), wide(b), bias ? wide(c) : c, expected);
              const auto there = [&](const Tensor& t, bool turned) {
                return turned ? t.permute({1, 0}).to(kCuda).permute({1, 0}) : t.to(kCuda);
              };
              ASSERT_TRUE(cublaslt::matmul(there(a, turned_a), there(b, turned_b), bias ? c.to(kCuda) : c, got));
              EXPECT_LT(error(values_of(got), expected.values()), tolerance(out))
                  << m << "x" << k << "x" << n << " " << name_of(in) << " to " << name_of(out) << turned_a << turned_b
                  << bias;
            }
      }
}

}  // namespace
}  // namespace tidepool::testing
