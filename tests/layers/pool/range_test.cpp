// Where f32 has not enough digits or not enough range: long windows, numbers near its ends, elements that are handed on
// as they are, kernels longer than the map, and maps without elements. f64, which the battery believes, is the
// reference.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/tape.h"
#include "layers/global_avg.h"
#include "layers/loss.h"
#include "layers/pool/operator.h"
#include "layers/pool/prepared.h"
#include "layers/pool/ranked_window.h"
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

using nlohmann::json;

struct Results {
  Tensor y, dx;
  std::vector<Tensor> gradients;
};

Results run(const PoolOperator& op, const Tensor& x, const std::vector<Tensor>& parameters, const Tensor& dy,
            const PoolMode& mode = {}) {
  const Tensor leaf = x.slice(0, 0, x.size(0));
  leaf.set_requires_grad();
  std::vector<Tensor> leaves;
  for (const Tensor& p : parameters) {
    leaves.push_back(p.slice(0, 0, p.size(0)));
    leaves.back().set_requires_grad();
  }
  Tape tape;
  const Tape::Scope scope(&tape);
  Results r;
  r.y = op.forward(leaf, leaves, mode);
  tape.backward(r.y, dy.to(r.y.dtype()));
  r.dx = leaf.grad();
  for (const Tensor& p : leaves) r.gradients.push_back(p.grad());
  return r;
}

double rounded(double v, DType type) {
  const auto f = static_cast<float>(v);
  return static_cast<double>(type == DType::bf16 ? static_cast<float>(bf16(f)) : f);
}

/// The worst difference in parts of what is allowed: the type's tolerance of the largest number that is expected, and
/// some steps of the type's denormal numbers. Infinity must meet infinity.
double judged(const Tensor& got, const Tensor& expected, DType type, double least = 0) {
  const Values a = got.values(), b = expected.values();
  double most = least, worst = 0;
  for (const double e : b)
    if (std::isfinite(rounded(e, type))) most = std::max(most, std::abs(e));
  const double step = type == DType::bf16 ? 0x1p-133 : 0x1p-149;
  for (size_t i = 0; i < a.size(); ++i) {
    const double e = rounded(b[i], type);
    if (a[i] == e) continue;
    // A last digit decides whether the largest number is rounded to infinity.
    const bool edge = std::abs(b[i]) > 3.4028e38 && std::abs(b[i]) < 3.41e38;
    if (std::isnan(a[i]) || std::isnan(e) || (std::isfinite(a[i]) != std::isfinite(e) && !edge)) return INFINITY;
    if (!std::isfinite(a[i])) {
      if (!edge && std::signbit(a[i]) != std::signbit(e)) return INFINITY;
      continue;
    }
    if (std::isfinite(e)) worst = std::max(worst, std::abs(a[i] - e) / (tolerance(type) * most + 8 * step));
  }
  return worst;
}

std::vector<Tensor> starts(const PoolOperator& op, const Dims& shape) {
  std::vector<Tensor> all;
  for (const ParameterSpec& spec : op.parameters(shape)) {
    const Tensor t = Tensor::empty(spec.shape, {.dtype = DType::f32});
    spec.init(t, 3);
    all.push_back(t.to(DType::f64));
  }
  return all;
}

void compare(const json& config, const Tensor& x_, DType type, MemoryFormat format, double cotangent,
             double least = 0) {
  const auto op = make_pool_operator(config);
  const Tensor x = x_.to(type).to(DType::f64);  // what both hold
  const std::vector<Tensor> parameters = starts(*op, x.shape());
  const Dims shape = op->output_shape(x.shape(), parameters);
  const Tensor dy = cotangent != 0 ? Tensor::full(shape, cotangent, {.dtype = DType::f64}) : normal(shape, 5);
  std::vector<Tensor> narrow;
  for (const Tensor& p : parameters) narrow.push_back(p.to(DType::f32));
  const Results expected = run(*op, x, parameters, dy);
  const Tensor there = Tensor::empty(x.shape(), {.dtype = type, .format = format});
  there.copy_from(x);
  const Results got = run(*op, there, narrow, dy);
  EXPECT_LE(judged(got.y, expected.y, type, least), 1) << "y";
  EXPECT_LE(judged(got.dx, expected.dx, type), 1) << "dx";
  for (size_t i = 0; i < parameters.size(); ++i) {
    // A sum with signs: over the root of its terms' squares, for which the largest result and `least` stand here.
    const double e = judged(got.gradients[i], expected.gradients[i], DType::f32, least);
    EXPECT_LE(e, type == DType::bf16 ? 1e4 : 50)
        << "gradient of parameter " << i << ": " << got.gradients[i].values()[0] << " for "
        << expected.gradients[i].values()[0];
  }
}

/// Every operator of windows; KERNEL stands for its keys.
const std::vector<const char*> kWindows = {R"({"type": "avg"})",
                                           R"({"type": "avg", "count_include_pad": false})",
                                           R"({"type": "max"})",
                                           R"({"type": "lp"})",
                                           R"({"type": "lp", "p": 3})",
                                           R"({"type": "lp", "p": 1.5, "learned": true})",
                                           R"({"type": "gem"})",
                                           R"({"type": "gem", "learned": true})",
                                           R"({"type": "lse"})",
                                           R"({"type": "lse", "learned": true, "b": 0.5})",
                                           R"({"type": "mixed", "t": 0.25})",
                                           R"({"type": "mixed", "learned": true})",
                                           R"({"type": "mixed", "t": 0})",
                                           R"({"type": "mixed", "t": 1})",
                                           R"({"type": "gated"})",
                                           R"({"type": "stochastic"})",
                                           R"({"type": "soft"})",
                                           R"({"type": "em"})",
                                           R"({"type": "edscw"})",
                                           R"({"type": "ada"})",
                                           R"({"type": "dpp"})",
                                           R"({"type": "dpp", "asymmetric": true})",
                                           R"({"type": "lip"})"};
/// Those that ask for ranks.
const std::vector<const char*> kSorted = {R"({"type": "ordinal"})", R"({"type": "quantile", "q": 0.3})",
                                          R"({"type": "quantile"})",
                                          R"({"type": "quantile", "learned": true, "q": 0.3})"};

class PoolLong : public ::testing::TestWithParam<const char*> {};

TEST_P(PoolLong, WindowsKeepTheirDigits) {
  for (const int64_t n : {2048, 65536})
    for (const MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last})
      for (const bool constant : {true, false}) {
        json config = json::parse(GetParam());
        config["kernel"] = n;
        SCOPED_TRACE(fmt::format("{}, {}", config.dump(), constant));
        const bool last = format == MemoryFormat::channels_last;
        const Dims shape{1, n > 4096 ? 1 : last ? 17 : 2, n};  // 17: a vector of channels, and one more
        const Tensor x = constant ? Tensor::full(shape, 3.3, {.dtype = DType::f64}) : normal(shape, 7, 1, 0.5);
        compare(config, x, DType::f32, format, 1.7);
      }
}
INSTANTIATE_TEST_SUITE_P(Windows, PoolLong, ::testing::ValuesIn(kWindows));
INSTANTIATE_TEST_SUITE_P(Sorted, PoolLong, ::testing::ValuesIn(kSorted));

// An element lies in many windows: the sum of what they give back is long.
TEST(PoolLong, GradientsOfOverlappingWindows) {
  for (const char* text : kWindows) {
    json config = json::parse(text);
    if (config["type"] == "max" || config["type"] == "ada" || config["type"] == "edscw") continue;
    config["kernel"] = 301;
    config["stride"] = 1;
    SCOPED_TRACE(config.dump());
    for (const MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last})
      compare(config, Tensor::full({1, 2, 700}, 3.3, {.dtype = DType::f64}), DType::f32, format, 3.3);
  }
  for (const char* type : {"avg", "max"})
    compare({{"type", type}, {"kernel", 4096}, {"stride", 1}}, Tensor::full({1, 1, 9000}, 3.3, {.dtype = DType::f64}),
            DType::f32, MemoryFormat::plain, 3.3);
}

// Ranks of many elements are sorted: k log k a window, where counting takes k^2 (a minute at this k).
TEST(PoolLong, SortedWindowsTakeSeconds) {
  for (const char* text : kSorted)
    for (const int64_t stride : {1 << 16, 1 << 15}) {
      json config = json::parse(text);
      config["kernel"] = 1 << 16;
      config["stride"] = stride;
      SCOPED_TRACE(config.dump());
      const auto begin = std::chrono::steady_clock::now();
      compare(config, normal({1, 1, 1 << 17}, 9, 1, 0.5), DType::f32, MemoryFormat::plain, 0);
      EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 20);
    }
}

// Training flushes denormal numbers. A window of zeros, as relu leaves many, is then no case for the slow f64 path:
// with ada and edscw it was, which cost a training step ten times its time.
TEST(Pool, ZerosAreAsFastAsNumbersWhereDenormalsAreFlushed) {
  flush_denormals();
  const Tensor numbers = normal({8, 32, 32, 32}, 3).contiguous(MemoryFormat::channels_last).to(DType::f32);
  const Tensor some = numbers.clone(), none = numbers.clone();
  for (int64_t i = 0; i < numbers.numel(); ++i) {
    some.mutable_data<float>()[i] = 1 + std::abs(numbers.data<float>()[i]);
    none.mutable_data<float>()[i] = std::max(0.0f, numbers.data<float>()[i] - 1.5f);  // most windows are zeros
  }
  for (const PoolDescription* description : pool_operators()) {
    json config = config_for_factor(*description, 2, some.shape(), {});
    const auto op = make_pool_operator(config);
    const std::vector<Tensor> parameters = initial_values(*op, some.shape(), DType::f32, 0);
    const Tensor dy = normal(op->output_shape(some.shape(), parameters), 5).to(DType::f32);
    const auto seconds = [&](const Tensor& x) {
      double least = 1e9;
      for (int i = 0; i < 7; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        run(*op, x, parameters, dy);
        least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      }
      return least;
    };
    const double with_numbers = seconds(some), with_zeros = seconds(none);
    EXPECT_LT(with_zeros, 4 * with_numbers) << description->name;
  }
}

/// Every rank of a window, sorted and counted: equal for ties, both zeros and NaN.
template <class V, bool kLanesAlongWidth>
void expect_the_ranks_that_are_counted(int64_t n) {
  const int64_t channels = kLanesAlongWidth ? 1 : 16;
  Random random(4, 1);
  std::vector<float> x(static_cast<size_t>(n * 16));
  for (float& e : x) {
    const double v = random.normal();
    e = v > 2 ? NAN : v < -2 ? -0.0f : static_cast<float>(std::round(2 * v) / 2);
  }
  WindowGeometry g{{}, {.outer = 1, .inner = channels, .channels = channels}};
  const auto k = static_cast<int32_t>(n);
  g.axis[2] = {n * 16 / channels, 16 / channels, k, k, 0, 1};
  const auto window =
      window::make_window<V, window::Form::any, kLanesAlongWidth>(g, nullptr, x.data(), 0, 0, 0, 0, 0, 0);
  const window::RankedWindow<std::decay_t<decltype(window)>> ranked(window);
  window.each([&](V v, int32_t index) {
    const Ints<V> sorted = ranked.rank(v, index), counted = window.rank(v, index);
    EXPECT_EQ(std::memcmp(&sorted, &counted, sizeof sorted), 0) << index << " of " << n;
  });
}
TEST(PoolLong, SortedRanksAreThoseThatAreCounted) {
  using Wide = detail::WideOf<float>::type;
  for (const int64_t n : {7, 256, 257, 1000}) {
    expect_the_ranks_that_are_counted<float, true>(n);
    expect_the_ranks_that_are_counted<float, false>(n);
    expect_the_ranks_that_are_counted<double, true>(n);
    expect_the_ranks_that_are_counted<Wide, true>(n);
    expect_the_ranks_that_are_counted<Wide, false>(n);
  }
}

TEST(PoolLong, Maps) {
  for (const char* text :
       {R"({"type": "global_avg"})", R"({"type": "adaptive_avg", "output_size": 3})",
        R"({"type": "spp", "aggregate": "avg"})", R"({"type": "s3", "stride": 4096})",
        R"({"type": "spectral", "output_size": 5})", R"({"type": "diffstride", "stride": 30, "smoothness": 1})",
        R"({"type": "max_blur", "kernel": 512, "filter": 5})", R"({"type": "dynopool", "r": 0.003})"})
    for (const MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last}) {
      SCOPED_TRACE(text);
      const json config = json::parse(text);
      compare(config, Tensor::full({1, 2, 8192}, 3.3, {.dtype = DType::f64}), DType::f32, format, 3.3, 1);
    }
  for (const char* text : {R"({"type": "global_avg"})", R"({"type": "adaptive_avg", "output_size": 1})",
                           R"({"type": "spp", "aggregate": "avg"})", R"({"type": "strip"})"})
    for (const MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last}) {
      SCOPED_TRACE(text);
      compare(json::parse(text), Tensor::full({1, 2, 600, 500}, 3.3, {.dtype = DType::f64}), DType::f32, format, 3.3);
    }
  // Enlarged: a pixel is read by many outputs.
  compare({{"type", "dynopool"}, {"r", 500}}, Tensor::full({1, 2, 8}, 3.3, {.dtype = DType::f64}), DType::f32,
          MemoryFormat::plain, 3.3);
  compare({{"type", "shape_adaptor"}, {"r2", 100}, {"alpha", 1}}, normal({1, 2, 6, 6}, 3), DType::f32,
          MemoryFormat::plain, 3.3);
}

TEST(PoolLong, AMillionAndMore) {
  const auto expect = [](const json& config, int64_t n, float value) {
    SCOPED_TRACE(fmt::format("{} of {}", config.dump(), n));
    const double y = make_pool_operator(config)->forward(Tensor::full({1, 1, n}, value), {}, {}).item();
    EXPECT_NEAR(y, static_cast<double>(value), 1e-5 * static_cast<double>(value));
  };
  for (const char* type : {"avg", "soft", "mixed", "lse"}) expect({{"type", type}, {"kernel", 1 << 20}}, 1 << 20, 3.3f);
  expect({{"type", "global_avg"}}, 40000000, 1.0f);
  EXPECT_NEAR(global_avg(Tensor::full({1, 1, 40000000}, 1)).item(), 1, 1e-5);
  EXPECT_NEAR(global_avg(Tensor::full({1, 1, 40000000}, 3.3)).item(), 3.3, 3.3e-5);
  const Tensor last = Tensor::full({1, 16, 2000000}, 3.3, {.format = MemoryFormat::channels_last});
  for (const double v : global_avg(last).values()) EXPECT_NEAR(v, 3.3, 3.3e-5);
}

// The bias of a convolution sums dy over images and positions.
TEST(PoolLong, GradientOfABias) {
  const auto op = make_pool_operator({{"type", "conv"}, {"kernel", 1}});
  for (const MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last}) {
    const Dims shape{2, 2, 1024, 1024};
    std::vector<Tensor> parameters = starts(*op, shape);
    for (Tensor& p : parameters) p = p.to(DType::f32);
    const Results r =
        run(*op, Tensor::full(shape, 1, {.format = format}), parameters, Tensor::full(shape, 3.3, {.format = format}));
    for (const double g : r.gradients[1].values()) EXPECT_NEAR(g / (0x1p21 * static_cast<double>(3.3f)), 1, 1e-6);
  }
}

class PoolRange : public ::testing::TestWithParam<const char*> {};

/// Windows that overlap and that do not, on both layouts, of normals times `scale`, cut at the type's largest number.
void expect_range(json config, double scale, bool window) {
  for (const DType type : {DType::f32, DType::bf16})
    for (const MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last})
      for (const int stride : {2, 1}) {
        if (window) {
          config["kernel"] = stride == 2 ? 2 : 3;
          config["stride"] = stride;
        } else if (stride == 1) {
          continue;
        }
        SCOPED_TRACE(fmt::format("{}, {}, {} {}, layout {}", config.dump(), scale, tidepool::name_of(type), stride,
                                 static_cast<int>(format)));
        Values v = normal({2, 5, 6, 40}, 17).values();
        for (double& e : v) e = std::clamp(e * scale, -3.38e38, 3.38e38);
        compare(config, Tensor::from<double>(v, {2, 5, 6, 40}), type, format, 0, scale);
      }
}

TEST_P(PoolRange, IsWhole) {
  for (const double scale : {1e-43, 1e-39, 1e-37, 1e-30, 1e-20, 1e20, 1e30, 1e37, 1e38, 1e39})
    expect_range(json::parse(GetParam()), scale, true);
}
INSTANTIATE_TEST_SUITE_P(Windows, PoolRange, ::testing::ValuesIn(kWindows));
INSTANTIATE_TEST_SUITE_P(Sorted, PoolRange, ::testing::ValuesIn(kSorted));

/// Operators of other maps than windows.
const std::vector<const char*> kMaps = {R"({"type": "global_avg"})",
                                        R"({"type": "global_max"})",
                                        R"({"type": "adaptive_avg", "output_size": 4})",
                                        R"({"type": "adaptive_max", "output_size": 4})",
                                        R"({"type": "adaptive_avg", "output_size": [3, 8]})",
                                        R"({"type": "spp", "aggregate": "avg"})",
                                        R"({"type": "s3"})",
                                        R"({"type": "blur"})",
                                        R"({"type": "max_blur"})",
                                        R"({"type": "fractional_max"})",
                                        R"({"type": "spectral"})",
                                        R"({"type": "diffstride", "smoothness": 1})",
                                        R"({"type": "dynopool", "r": 0.6})",
                                        R"({"type": "dynopool", "r": 0.6, "aggregate": "soft"})",
                                        R"({"type": "dynopool", "r": 0.6, "aggregate": "avg"})",
                                        R"({"type": "dynopool"})",
                                        R"({"type": "dynopool", "offset": "learned"})",
                                        R"({"type": "dynopool", "aggregate": "soft"})",
                                        R"({"type": "dynopool", "aggregate": "avg"})",
                                        R"({"type": "shape_adaptor"})",
                                        R"({"type": "shape_adaptor", "r2": 1.5, "alpha": 0})",
                                        R"({"type": "strip"})",
                                        R"({"type": "conv"})",
                                        R"({"type": "space_to_depth"})",
                                        R"({"type": "lip", "logit": "simplified"})",
                                        R"({"type": "lip", "logit": "bottleneck"})"};

TEST(PoolRange, OfMaps) {
  for (const char* text : kMaps)
    for (const double scale : {1e-39, 1e-30, 1e20, 1e30, 1e38, 1e39}) expect_range(json::parse(text), scale, false);
}

/// Maps whose elements are as large as they can be: all alike, one neighbour's sign against the other's, random signs.
TEST(PoolRange, OfTheLargestNumbers) {
  std::vector<const char*> all = kWindows;
  all.insert(all.end(), kSorted.begin(), kSorted.end());
  all.insert(all.end(), kMaps.begin(), kMaps.end());
  const Dims shape{2, 17, 6, 40};
  const Values random = normal(shape, 21).values();
  for (const DType type : {DType::f32, DType::bf16}) {
    const double most = type == DType::bf16 ? 0x1.fep127 : static_cast<double>(std::numeric_limits<float>::max());
    for (const MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last})
      for (const char* signs : {"same", "alternating", "random"}) {
        Values v(random.size(), most);
        for (size_t i = 0; i < v.size(); ++i)
          if (signs[0] == 'a' ? (i + i / 40) % 2 == 1 : signs[0] == 'r' && random[i] < 0) v[i] = -most;
        for (const char* text : all) {
          SCOPED_TRACE(fmt::format("{}, {}, layout {}, signs {}", text, tidepool::name_of(type),
                                   static_cast<int>(format), signs));
          compare(json::parse(text), Tensor::from<double>(v, shape), type, format, 0, most);
        }
      }
  }
}

TEST(PoolRange, OfAFewNumbers) {
  const auto y = [](const json& config, const Values& v) {
    return make_pool_operator(config)
        ->forward(Tensor::from<double>(v, {1, 1, 2, 2}).to(DType::f32),
                  starts(*make_pool_operator(config), {1, 1, 2, 2}), {})
        .item();
  };
  EXPECT_NEAR(y({{"type", "stochastic"}}, {1e-39, 2e-39, -1e-39, 2e-39}), 1.8e-39, 1e-44);
  EXPECT_FLOAT_EQ(static_cast<float>(y({{"type", "avg"}}, {3e38, 3e38, 3e38, 3e38})), 3e38f);
  EXPECT_FLOAT_EQ(static_cast<float>(y({{"type", "lp"}}, {1e-40, 0, 0, 1e-40})), 1.41421356e-40f);
  EXPECT_TRUE(std::isinf(y({{"type", "lp"}}, {3e38, 3e38, 3e38, 3e38})));  // 6e38
  EXPECT_TRUE(std::isfinite(y({{"type", "dpp"}}, {1e20, 0, -1e20, 3})));
}

TEST(LossRange, LargeLogits) {
  const Tensor logits = Tensor::from<double>({3e38, -3e38, 0}, {1, 3}).to(DType::f32);
  const Tensor label = Tensor::from<int64_t>({0}, {1});
  const double sum = cross_entropy(logits, label, 0.1).item();
  EXPECT_NEAR(sum, 0.1 * (3e38 + 6e38) / 3, 1e33);  // log sum exp is the largest
}

bool is_one_of(double y, const Values& x) {
  for (const double e : x)
    if (y == e && std::signbit(y) == std::signbit(e)) return true;
  return false;
}

// What is selected is handed on bit for bit.
TEST(PoolSelects, TheElementItself) {
  Random random(3, 4);
  for (const DType type : {DType::f32, DType::bf16, DType::f64})
    for (const MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last})
      for (const char* text :
           {R"({"type": "max"})", R"({"type": "stochastic"})", R"({"type": "fractional_max"})", R"({"type": "s3"})",
            R"({"type": "mixed", "t": 1})", R"({"type": "quantile"})", R"({"type": "quantile", "q": 0})",
            R"({"type": "quantile", "q": 1})", R"({"type": "adaptive_max", "output_size": 4})",
            R"({"type": "dynopool"})", R"({"type": "max_blur", "filter": 1})"}) {
        SCOPED_TRACE(fmt::format("{} {}", text, tidepool::name_of(type)));
        Values v(2 * 19 * 8 * 32);
        for (double& e : v) e = std::abs(random.normal()) * std::pow(10.0, 3 * random.normal());
        const Tensor plain = Tensor::from<double>(v, {2, 19, 8, 32}).to(type);
        const Tensor x = Tensor::empty(plain.shape(), {.dtype = type, .format = format});
        x.copy_from(plain);
        json config = json::parse(text);
        if (config["type"] == "quantile" || config["type"] == "mixed" || config["type"] == "stochastic")
          config["kernel"] = 3;
        const auto op = make_pool_operator(config);
        const Tensor y = op->forward(x, starts(*op, x.shape()), {.training = true, .seed = 5, .step = 1});
        const Values all = x.values(), got = y.values();
        const auto planes = static_cast<size_t>(x.size(0) * x.size(1));
        for (size_t p = 0; p < planes; ++p) {
          const auto n = all.size() / planes, m = got.size() / planes;
          const Values plane(all.begin() + static_cast<int64_t>(p * n), all.begin() + static_cast<int64_t>(p * n + n));
          for (size_t i = 0; i < m; ++i) ASSERT_TRUE(is_one_of(got[p * m + i], plane)) << got[p * m + i];
        }
      }
}

TEST(PoolSelects, EndsOfMixedAreMaxAndAvg) {
  for (const Dims& shape : {Dims{2, 19, 9, 33}, Dims{1, 3, 200}}) {
    const Tensor x = normal(shape, 8, 1e3, 1e2).to(DType::f32);
    const auto y = [&](json config) { return make_pool_operator(config)->forward(x, {}, {}); };
    EXPECT_TRUE(same_bits(y({{"type", "mixed"}, {"t", 0}, {"kernel", 3}}), y({{"type", "avg"}, {"kernel", 3}})));
    EXPECT_TRUE(same_bits(y({{"type", "mixed"}, {"t", 1}, {"kernel", 3}}), y({{"type", "max"}, {"kernel", 3}})));
  }
  const Tensor zeros = Tensor::from<double>({-0.0, -1, -2, -0.0}, {1, 1, 4}).to(DType::f32);
  for (const json& config : {json{{"type", "mixed"}, {"t", 1}}, json{{"type", "quantile"}, {"q", 1}}})
    EXPECT_TRUE(std::signbit(make_pool_operator(config)->forward(zeros, {}, {}).values()[0]));
}

// As torch.nn has it: with ceil_mode a kernel may be longer than the map, by less than a stride.
TEST(PoolCeil, KernelsLongerThanTheMap) {
  struct Row {
    json keys;
    Dims x, y;
  };
  for (const Row& row :
       {Row{{{"kernel", 3}, {"stride", 2}}, {1, 1, 2, 2}, {1, 1, 1, 1}},
        Row{{{"kernel", 3}, {"stride", 2}}, {1, 1, 2, 7}, {1, 1, 1, 3}}, Row{{{"kernel", 3}}, {1, 2, 1}, {1, 2, 1}},
        Row{{{"kernel", 5}, {"padding", 1}}, {1, 2, 1, 2}, {1, 2, 1, 1}},
        Row{{{"kernel", {4, 2, 3}}, {"stride", {2, 2, 3}}}, {2, 2, 3, 4, 2}, {2, 2, 1, 2, 1}},
        Row{{{"kernel", 2}, {"stride", 3}, {"dilation", 3}}, {1, 1, 2, 2}, {1, 1, 1, 1}}})
    for (const char* text : kWindows) {
      json config = json::parse(text);
      config.update(row.keys);
      SCOPED_TRACE(config.dump());
      const std::string refused = error_of(
          [&] { make_pool_operator(config)->output_shape(row.x, starts(*make_pool_operator(config), row.x)); });
      EXPECT_NE(refused.find("does not fit"), std::string::npos) << refused;
      config["ceil_mode"] = true;
      const auto op = make_pool_operator(config);
      EXPECT_EQ(op->output_shape(row.x, starts(*op, row.x)), row.y);
      Dims many = row.x;
      many[0] = 40;
      for (const MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last})
        compare(config, normal(many, 4), DType::f32, format, 0, 1);
    }
  const auto y = [](const char* config) {
    return make_pool_operator(json::parse(config))
        ->forward(Tensor::from<double>({1, 5, 3, 2}, {1, 1, 2, 2}), {}, {})
        .item();
  };
  EXPECT_EQ(y(R"({"type": "max", "kernel": 3, "stride": 2, "ceil_mode": true})"), 5);
  EXPECT_EQ(y(R"({"type": "avg", "kernel": 3, "stride": 2, "ceil_mode": true})"), 2.75);
  EXPECT_NE(
      error_of([&] { y(R"({"type": "max", "kernel": 4, "stride": 2, "ceil_mode": true})"); }).find("does not fit"),
      std::string::npos);
}

// Work is bounded by the bytes that there are: a map without images has none, however long its axes.
TEST(PoolNothing, TakesNoTime) {
  for (const PoolDescription* d : pool_operators())
    for (const int rank : d->ranks) {
      SCOPED_TRACE(fmt::format("{}, rank {}", d->name, rank));
      Dims shape = Dims::filled(2 + rank, 1);
      shape[0] = 0;
      for (int i = 0; i < rank; ++i) shape[2 + i] = rank == 1 ? int64_t{1} << 40 : int64_t{1} << (rank == 2 ? 20 : 13);
      json config = {{"type", d->name}};
      for (const Key& key : d->keys) {
        if (key.name == "output_size" && d->name.starts_with("adaptive")) config[key.name] = 1 << 13;
        if (key.name == "dilation" && d->name != "conv") config[key.name] = 3;
      }
      const auto op = make_pool_operator(config);
      std::vector<Tensor> parameters = starts(*op, shape);
      for (Tensor& p : parameters) p = p.to(DType::f32);
      const Dims out = op->output_shape(shape, parameters);
      EXPECT_EQ(out[0], 0);
      for (const MemoryFormat format : {MemoryFormat::plain, MemoryFormat::channels_last})
        for (const bool training : {false, true}) {
          const Tensor x = Tensor::empty(shape, {.format = format});
          const Results r = run(*op, x, parameters, Tensor::empty(out), {.training = training});
          EXPECT_EQ(r.y.shape(), out);
          EXPECT_EQ(r.dx.shape(), shape);
          for (const Tensor& g : r.gradients)
            for (const double v : g.values()) EXPECT_EQ(v, 0);
        }
    }
}

}  // namespace
}  // namespace tidepool::testing
