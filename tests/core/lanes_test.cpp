#include "core/lane_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <vector>

#include "core/parallel.h"
#include "core/philox.h"

namespace tidepool {
namespace {

using Wide = detail::WideOf<float>::type;
using WideF64 = detail::WideOf<double>::type;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Not inlined, so that each form is compiled by itself, as in a kernel.
__attribute__((noinline)) void exp_wide(const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes<Wide>) store<Wide>(y + i, exp_lanes(load<Wide>(x + i)));
}
__attribute__((noinline)) void exp_scalar(const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = exp_lanes(x[i]);
}

// Distance in units of the last place of the exact result (its spacing in f32, denormals included).
double ulps(float got, double exact) {
  int exponent;
  std::frexp(exact, &exponent);
  const double spacing = std::ldexp(1.0, std::max(exponent - 24, -149));
  return std::abs(static_cast<double>(got) - exact) / spacing;
}

TEST(ExpLanes, WithinTwoUlp) {
  std::vector<float> x;
  for (double v = -104.5; v < 88.7228; v += 0.000977) x.push_back(static_cast<float>(v));
  for (int e = -140; e < 0; ++e)
    for (const float sign : {-1.0f, 1.0f}) x.push_back(sign * std::ldexp(1.37f, e));
  for (const float v : {0.0f, -0.0f, 88.722832f, -87.336544f, -87.4f, -100.0f, -103.9f, 0.34657359f, -0.34657359f})
    x.push_back(v);
  x.resize((x.size() + kLanes<Wide> - 1) / kLanes<Wide> * kLanes<Wide>, 1.0f);
  std::vector<float> y(x.size()), s(x.size());
  exp_wide(x.data(), y.data(), static_cast<int64_t>(x.size()));
  exp_scalar(x.data(), s.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(y[i]), std::bit_cast<uint32_t>(s[i])) << x[i];  // vector == scalar
    const double exact = std::exp(static_cast<double>(x[i]));
    worst = std::max(worst, ulps(y[i], exact));
    ASSERT_LE(ulps(y[i], exact), 2.0) << x[i];
  }
  RecordProperty("worst_ulp", std::to_string(worst));
  std::cout << "worst error: " << worst << " ulp\n";
}

// The worst error of f's vector form in units of the last place of g's value; the scalar form must give the same bits
// but for the sums of products in which the compiler may fuse either multiplication.
template <class F, class G>
double worst_ulps(std::vector<float> x, const F& f, const G& g) {
  x.resize((x.size() + kLanes<Wide> - 1) / kLanes<Wide> * kLanes<Wide>, x[0]);
  std::vector<float> wide(x.size());
  for (size_t i = 0; i < x.size(); i += kLanes<Wide>) store<Wide>(wide.data() + i, f(load<Wide>(x.data() + i)));
  double worst = 0, at = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double exact = g(static_cast<double>(x[i]));
    const double e = std::max(ulps(wide[i], exact), ulps(f(x[i]), exact));
    if (!(e <= worst)) worst = e, at = static_cast<double>(x[i]);
  }
  std::cout << "worst error: " << worst << " ulp at " << at << "\n";
  return worst;
}

std::vector<float> spread(double low, double high, double step) {
  std::vector<float> x;
  for (double v = low; v <= high; v += step) x.push_back(static_cast<float>(v));
  for (int e = -120; e < 0; ++e)
    for (const double sign : {-1.0, 1.0}) {
      const double v = sign * std::ldexp(1.37, e);
      if (v >= low && v <= high) x.push_back(static_cast<float>(v));
    }
  return x;
}

TEST(LogLanes, WithinTwoUlp) {
  std::vector<float> x = spread(1e-4, 9, 1.7e-4);
  for (int e = -148; e < 128; ++e)
    for (const float m : {1.0f, 1.3f, 1.41421356f, 1.41421366f, 1.9f}) x.push_back(std::ldexp(m, e));
  EXPECT_LE(worst_ulps(
                x, [](auto v) { return log_lanes(v); }, [](double v) { return std::log(v); }),
            2.0);
  EXPECT_EQ(log_lanes(1.0f), 0.0f);
  EXPECT_EQ(log_lanes(0.0f), -kInf);
  EXPECT_EQ(log_lanes(-0.0f), -kInf);
  EXPECT_EQ(log_lanes(kInf), kInf);
  EXPECT_TRUE(std::isnan(log_lanes(-1.0f)));
  EXPECT_TRUE(std::isnan(log_lanes(-kInf)));
  EXPECT_TRUE(std::isnan(log_lanes(kNan)));
  Wide v = splat<Wide>(2.0f);
  v[1] = 0.0f, v[2] = kInf, v[3] = -2.0f, v[4] = kNan;
  const Wide l = log_lanes(v);
  EXPECT_EQ(l[1], -kInf);
  EXPECT_EQ(l[2], kInf);
  EXPECT_TRUE(std::isnan(l[3]));
  EXPECT_TRUE(std::isnan(l[4]));
}

// Two ulp (three beside less_one), and what a rounded exponent costs.
TEST(Weights, NearTheExponential) {
  for (const double beta : {1.0, 0.37, 1e-4, 250.0, 1e6}) {
    const auto rate = static_cast<float>(beta);
    const double exact = static_cast<double>(rate);
    double worst = 0, worst_less = 0;
    for (float u : spread(-87, 0, 7.7e-4)) {
      u = static_cast<float>(static_cast<double>(u) / beta);
      const double x = exact * static_cast<double>(u);
      const float scalar = Weights<float>(rate)(u), wide = Weights<Wide>(rate)(splat<Wide>(u))[3];
      ASSERT_EQ(scalar, wide);
      worst = std::max(worst, ulps(scalar, std::exp(x)) / (2 + 2 * std::abs(x)));
      const float beside = Weights<float>(rate).beside_less_one(u), less = Weights<float>(rate).less_one(u);
      ASSERT_EQ(less, Weights<Wide>(rate).less_one(splat<Wide>(u))[3]);
      worst = std::max(worst, ulps(beside, std::exp(x)) / (3 + 2 * std::abs(x)));
      if (u != 0) worst_less = std::max(worst_less, std::abs(static_cast<double>(less) / std::expm1(x) - 1));
    }
    EXPECT_LE(worst, 1) << beta;
    EXPECT_LE(worst_less, 6e-7) << beta;
    EXPECT_EQ(Weights<float>(rate).less_one(0.0f), 0.0f);
    EXPECT_EQ(Weights<float>(rate).beside_less_one(0.0f), 1.0f);
    EXPECT_TRUE(std::isnan(Weights<float>(rate).less_one(kNan)));
    EXPECT_EQ(Weights<float>(rate)(0.0f), 1.0f);
    EXPECT_TRUE(std::isnan(Weights<float>(rate)(kNan)));
    EXPECT_TRUE(std::isnan(Weights<float>(rate).within(kNan)));
    EXPECT_GT(Weights<float>(rate)(Weights<float>(rate).within(-kInf)), 0.0f);
  }
  EXPECT_DOUBLE_EQ(Weights<double>(0.5)(-3.0), std::exp(-1.5));
  EXPECT_DOUBLE_EQ(Weights<double>(0.5).less_one(-3.0), std::expm1(-1.5));
  EXPECT_DOUBLE_EQ(Weights<double>(0.5).beside_less_one(-3.0), std::exp(-1.5));
}

TEST(ReciprocalLanes, WithinTwoUlp) {
  std::vector<float> x = spread(1e-3, 40, 3.7e-3);
  for (int e = -125; e < 125; ++e)
    for (const float m : {1.0f, 1.37f, 1.9999999f}) x.push_back(std::ldexp(m, e));
  EXPECT_LE(worst_ulps(
                x, [](auto v) { return reciprocal_lanes(v); }, [](double v) { return 1 / v; }),
            2.0);
  EXPECT_EQ(reciprocal_lanes(1.0f), 1.0f);
  EXPECT_EQ(reciprocal_lanes(4.0f), 0.25f);
  EXPECT_TRUE(std::isnan(reciprocal_lanes(kNan)));
  EXPECT_EQ(reciprocal_lanes(3.0), 1 / 3.0);
}

TEST(Lanes, Magnitudes) {
  const float x[] = {0.0f, -0.0f, 1.5f, -1.5f, 1e-40f, -1e-40f, kInf, -kInf, -3.4e38f};
  for (const float a : x) {
    EXPECT_EQ(abs_lanes(a), std::fabs(a));
    EXPECT_FALSE(std::signbit(abs_lanes(splat<Wide>(a))[5]));
    EXPECT_EQ(abs_lanes(splat<Wide>(a))[5], std::fabs(a));
    for (const float b : x) {
      EXPECT_EQ(larger_magnitude(std::fabs(a), b), std::max(std::fabs(a), std::fabs(b)));
      EXPECT_EQ(larger_magnitude(splat<Wide>(std::fabs(a)), splat<Wide>(b))[7], std::max(std::fabs(a), std::fabs(b)));
    }
    for (const float nan : {kNan, -kNan}) {
      EXPECT_TRUE(std::isnan(larger_magnitude(std::fabs(a), nan)));
      EXPECT_TRUE(std::isnan(larger_magnitude(abs_lanes(nan), a)));
    }
  }
  EXPECT_EQ(abs_lanes(-2.5), 2.5);
  EXPECT_EQ(larger_magnitude(1.0, -2.5), 2.5);
  EXPECT_TRUE(std::isnan(abs_lanes(kNan)));
}

TEST(RsqrtLanes, WithinTwoUlp) {
  std::vector<float> x = spread(1e-3, 40, 3.7e-3);
  for (int e = -126; e < 128; ++e) x.push_back(std::ldexp(1.37f, e));
  x.resize((x.size() + kLanes<Wide> - 1) / kLanes<Wide> * kLanes<Wide>, 1.0f);
  EXPECT_LE(worst_ulps(
                x, [](auto v) { return rsqrt_lanes(v); }, [](double v) { return 1 / std::sqrt(v); }),
            2.0);
}

TEST(Expm1Lanes, WithinTwoUlp) {
  EXPECT_LE(
      worst_ulps(
          spread(-86.9, 87.9, 3.1e-3), [](auto v) { return expm1_lanes(v); }, [](double v) { return std::expm1(v); }),
      3.0);
  EXPECT_EQ(expm1_lanes(0.0f), 0.0f);
  EXPECT_EQ(expm1_lanes(-kInf), -1.0f);
  EXPECT_TRUE(std::isnan(expm1_lanes(kNan)));
}

TEST(SortLanes, KeepsBothAndNan) {
  const float numbers[] = {-kInf, -1.5f, -0.0f, 0.0f, 2.0f, kInf, kNan};
  for (const float a : numbers)
    for (const float b : numbers) {
      float low, high;
      sort_lanes(a, b, low, high);
      Wide wide_low, wide_high;
      sort_lanes(splat<Wide>(a), splat<Wide>(b), wide_low, wide_high);
      EXPECT_EQ(std::bit_cast<uint32_t>(low), std::bit_cast<uint32_t>(float{wide_low[5]})) << a << " " << b;
      EXPECT_EQ(std::bit_cast<uint32_t>(high), std::bit_cast<uint32_t>(float{wide_high[5]})) << a << " " << b;
      EXPECT_EQ(std::isnan(a) || std::isnan(b), std::isnan(low) || std::isnan(high));
      if (std::isnan(a) || std::isnan(b)) continue;
      EXPECT_EQ(low, std::min(a, b));
      EXPECT_EQ(high, std::max(a, b));
    }
}

TEST(Log1pLanes, WithinTwoUlp) {
  std::vector<float> x = spread(-0.9999, 1, 1.3e-4);
  EXPECT_LE(worst_ulps(
                x, [](auto v) { return log1p_lanes(v); }, [](double v) { return std::log1p(v); }),
            2.0);
  EXPECT_TRUE(std::isnan(log1p_lanes(kNan)));
}

// Relative error; in f64 too.
TEST(EntropyLanes, KeepsItsDigitsNearZero) {
  const auto exact = [](long double x) { return static_cast<double>(x * std::exp(x) - std::expm1(x)); };
  const auto series = [](long double x) {
    long double sum = 0, term = 1;
    for (int k = 1; k < 30; ++k) {
      term *= x / static_cast<long double>(k);
      if (k > 1) sum += static_cast<long double>(k - 1) * term;
    }
    return static_cast<double>(sum);
  };
  double worst = 0, worst64 = 0;
  for (double v = -30; v < 12; v += 0.0137)
    for (const double x : {v, v * 1e-3, v * 1e-6}) {
      const auto narrow_x = static_cast<float>(x);
      const auto at = [&](double t) { return std::abs(t) < 1 ? series(t) : exact(t); };
      const double of32 = at(static_cast<double>(narrow_x)), of64 = at(x);
      worst = std::max(worst, std::abs(static_cast<double>(entropy_lanes(narrow_x)) / of32 - 1));
      worst64 = std::max(worst64, std::abs(entropy_lanes(x) / of64 - 1));
    }
  std::cout << "worst relative error: f32 " << worst << ", f64 " << worst64 << "\n";
  EXPECT_LE(worst, 2e-6);
  EXPECT_LE(worst64, 1e-13);
  EXPECT_EQ(entropy_lanes(0.0f), 0.0f);
  EXPECT_EQ(entropy_lanes(-kInf), 1.0f);
}

TEST(SigmoidLanes, WholeRange) {
  EXPECT_LE(worst_ulps(
                spread(-86, 40, 3.3e-3), [](auto v) { return sigmoid_lanes(v); },
                [](double v) { return 1 / (1 + std::exp(-v)); }),
            4.0);
  EXPECT_EQ(sigmoid_lanes(kInf), 1.0f);
  EXPECT_EQ(sigmoid_lanes(-kInf), 0.0f);
  EXPECT_TRUE(std::isnan(sigmoid_lanes(kNan)));
}

TEST(ExpLanes, EndsOfTheRange) {
  alignas(64) float x[16] = {kInf,   -kInf, kNan,  88.73f, 89.0f,   1e30f,    -104.0f, -103.98f,
                             -1e30f, 0.0f,  -0.0f, -kNan,  3.4e38f, -3.4e38f, 1e-40f,  -1e-40f};
  float y[16], s[16];
  exp_wide(x, y, 16);
  exp_scalar(x, s, 16);
  for (const float* r : {y, s}) {
    EXPECT_EQ(r[0], kInf);
    EXPECT_EQ(r[1], 0.0f);
    EXPECT_TRUE(std::isnan(r[2]));
    EXPECT_EQ(r[3], kInf);
    EXPECT_EQ(r[4], kInf);
    EXPECT_EQ(r[5], kInf);
    EXPECT_EQ(r[6], 0.0f);
    EXPECT_EQ(r[7], 0.0f);
    EXPECT_EQ(r[8], 0.0f);
    EXPECT_EQ(r[9], 1.0f);
    EXPECT_EQ(r[10], 1.0f);
    EXPECT_TRUE(std::isnan(r[11]));
    EXPECT_EQ(r[12], kInf);
    EXPECT_EQ(r[13], 0.0f);
    EXPECT_EQ(r[14], 1.0f);
    EXPECT_EQ(r[15], 1.0f);
  }
}

TEST(ExpLanes, F64IsTheLibrarys) {
  double x[8] = {-745.2, -700, -1, 0, 1, 700, 710, std::numeric_limits<double>::quiet_NaN()}, y[8];
  for (int i = 0; i < 8; i += kLanes<WideF64>) store<WideF64>(y + i, exp_lanes(load<WideF64>(x + i)));
  for (int i = 0; i < 7; ++i) EXPECT_EQ(y[i], std::exp(x[i]));
  EXPECT_TRUE(std::isnan(y[7]));
}

TEST(Lanes, Bf16StoreRoundsAsTheScalar) {
  std::vector<float> x;
  Random random(3, 0);
  for (int i = 0; i < 1 << 16; ++i) x.push_back(std::bit_cast<float>(random.word()));  // any bits: NaN, denormals, all
  for (uint32_t high : {0x3f80u, 0x3f81u, 0x7f7fu, 0x7f80u, 0xff80u, 0x8000u, 0x0001u, 0x7fffu})
    for (uint32_t low : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu, 0x1000u, 0xf000u})
      x.push_back(std::bit_cast<float>(high << 16 | low));
  ASSERT_EQ(x.size() % kLanes<Wide>, 0u);
  std::vector<bf16> wide(x.size());
  for (size_t i = 0; i < x.size(); i += kLanes<Wide>) store<Wide>(wide.data() + i, load<Wide>(x.data() + i));
  for (size_t i = 0; i < x.size(); ++i) {
    const bf16 scalar(x[i]);
    ASSERT_EQ(wide[i].bits, scalar.bits) << std::hex << std::bit_cast<uint32_t>(x[i]);
    ASSERT_EQ(std::isnan(x[i]), std::isnan(static_cast<float>(scalar)));
  }
  for (size_t i = 0; i < x.size(); i += kLanes<Wide>) {  // without denormal numbers, and without looking for them
    Wide v = load<Wide>(x.data() + i);
    for (int l = 0; l < kLanes<Wide>; ++l)
      if (std::fpclassify(v[l]) == FP_SUBNORMAL) v[l] = 0;
    const auto flushed = rounded<bf16, true>(v);
    for (int l = 0; l < kLanes<Wide>; ++l) ASSERT_EQ(flushed[l], bf16(v[l]).bits);
  }
  for (size_t i = 0; i < wide.size(); i += kLanes<Wide>) {
    float back[kLanes<Wide>];
    store<Wide>(back, load<Wide>(wide.data() + i));
    for (int l = 0; l < kLanes<Wide>; ++l)
      ASSERT_EQ(std::bit_cast<uint32_t>(back[l]), uint32_t{wide[i + static_cast<size_t>(l)].bits} << 16);
  }
}

TEST(Lanes, LoadsOfAnyAlignmentAndType) {
  std::vector<float> f(40);
  for (size_t i = 0; i < f.size(); ++i) f[i] = static_cast<float>(i) + 0.5f;
  for (size_t at = 0; at < 8; ++at) {
    const Wide v = load<Wide>(f.data() + at);
    for (int l = 0; l < kLanes<Wide>; ++l) ASSERT_EQ(v[l], f[at + static_cast<size_t>(l)]);
    const WideF64 d = load<WideF64>(f.data() + at);  // widens
    for (int l = 0; l < kLanes<WideF64>; ++l) ASSERT_EQ(d[l], f[at + static_cast<size_t>(l)]);
  }
  EXPECT_EQ(load<float>(f.data() + 3), 3.5f);
}

TEST(Lanes, StridedLoadsAndStores) {
  std::vector<float> f(200);
  for (size_t i = 0; i < f.size(); ++i) f[i] = static_cast<float>(i);
  for (int64_t step = 1; step <= 5; ++step) {
    // The last lane is the last element: nothing behind it may be read (the sanitizer's build checks that).
    std::vector<float> exact(f.begin(), f.begin() + (kLanes<Wide> - 1) * step + 1), out(exact.size(), -1.0f);
    const Wide v = load_strided<Wide>(exact.data(), step);
    store_strided<Wide>(out.data(), v, step);
    for (size_t i = 0; i < out.size(); ++i)
      ASSERT_EQ(out[i], static_cast<int64_t>(i) % step == 0 ? f[i] : -1.0f) << step;
  }
  float pairs[2 * kLanes<Wide>];
  store_pairs<Wide>(pairs, load<Wide>(f.data()), load<Wide>(f.data() + 100));
  for (size_t i = 0; i < kLanes<Wide>; ++i) {
    EXPECT_EQ(pairs[2 * i], f[i]);
    EXPECT_EQ(pairs[2 * i + 1], f[100 + i]);
  }
  const auto apart = [&]<class T>(T) {
    T memory[2 * kLanes<Wide> + 1];
    for (size_t i = 0; i < std::size(memory); ++i) memory[i] = static_cast<T>(f[i]);
    for (const int at : {0, 1}) {  // at any alignment
      Wide a, b;
      load_pairs(memory + at, a, b);
      for (int l = 0; l < kLanes<Wide>; ++l) {
        EXPECT_EQ(a[l], static_cast<float>(memory[2 * l + at]));
        EXPECT_EQ(b[l], static_cast<float>(memory[2 * l + 1 + at]));
      }
      float one, two;
      load_pairs(memory + at, one, two);
      EXPECT_EQ(one, static_cast<float>(memory[at]));
      EXPECT_EQ(two, static_cast<float>(memory[at + 1]));
    }
  };
  apart(float{});
  apart(bf16{});
}

TEST(Lanes, IntegersNarrowAndWide) {
  constexpr int kCount = kLanes<Wide>, kStep = 255 / (kCount - 1);
  std::vector<uint8_t> bytes(kCount);
  for (int i = 0; i < kCount; ++i) bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(i * kStep);
  const Ints<Wide> v = load_int<Wide>(bytes.data());
  for (int l = 0; l < kCount; ++l) EXPECT_EQ(v[l], l * kStep);
  std::vector<uint8_t> back(kCount);
  store_int<Wide>(back.data(), v);
  EXPECT_EQ(back, bytes);
  EXPECT_EQ(load_int<float>(bytes.data() + 2), 2 * kStep);
}

TEST(Lanes, Doubles) {
  constexpr size_t kCount = kLanes<Wide>;
  std::vector<float> f(kCount);
  for (size_t i = 0; i < kCount; ++i) f[i] = static_cast<float>(i) + 0.25f;
  std::vector<double> sums(kCount, 0.5), wide(kCount);
  add_widened<Wide>(sums.data(), load<Wide>(f.data()));
  for (size_t i = 0; i < kCount; ++i) EXPECT_EQ(sums[i], f[i] + 0.5);
  const Doubles<Wide> d = widen(load<Wide>(f.data()));
  std::memcpy(wide.data(), &d, sizeof d);
  const Wide back = narrow<Wide>(d), loaded = load<Wide>(wide.data());
  for (int i = 0; i < kLanes<Wide>; ++i) {
    EXPECT_EQ(wide[static_cast<size_t>(i)], f[static_cast<size_t>(i)]);
    EXPECT_EQ(back[i], f[static_cast<size_t>(i)]);
    EXPECT_EQ(loaded[i], f[static_cast<size_t>(i)]);
  }
}

TEST(Lanes, MaxKeepsNan) {
  EXPECT_EQ(max_nan(1.0f, 2.0f), 2.0f);
  EXPECT_TRUE(std::isnan(max_nan(1.0f, kNan)));
  EXPECT_TRUE(std::isnan(max_nan(kNan, 1.0f)));
  EXPECT_EQ(max_nan(-kInf, -kInf), -kInf);
  Wide a = splat<Wide>(1.0f), b = splat<Wide>(0.0f);
  a[3] = kNan;
  b[5] = kNan;
  b[7] = 9.0f;
  const Wide m = max_nan(a, b);
  for (int l = 0; l < kLanes<Wide>; ++l) {
    if (l == 3 || l == 5)
      EXPECT_TRUE(std::isnan(m[l]));
    else
      EXPECT_EQ(m[l], l == 7 ? 9.0f : 1.0f);
  }
}

TEST(Lanes, EachLaneCoversOnce) {
  for (const int64_t count : {0, 1, 15, 16, 17, 31, 100}) {
    std::vector<int> seen(120);
    each_lane<float>(5, count, [&]<class V>(int64_t lane) {
      for (int l = 0; l < kLanes<V>; ++l) ++seen[static_cast<size_t>(lane + l)];
    });
    for (int64_t i = 0; i < 120; ++i) ASSERT_EQ(seen[static_cast<size_t>(i)], i >= 5 && i < 5 + count ? 1 : 0);
  }
}

// A functor run over rows whose lanes do not fill vectors: the tail uses the scalar form. It has no a * b + c * d, in
// which the compiler may fuse either product into a multiply-add, and picks another one for vectors than for scalars.
TEST(Lanes, WhereAnElementStandsDoesNotMatter) {
  std::vector<float> x(64);
  Random random(9, 1);
  for (float& v : x) v = static_cast<float>(random.normal());
  const auto run = [&](int64_t shift) {
    std::vector<float> in(x.size() + 64), out(in.size());
    std::copy(x.begin(), x.end(), in.begin() + shift);
    each_lane<float>(0, static_cast<int64_t>(x.size()) + shift, [&]<class V>(int64_t lane) {
      const V v = load<V>(in.data() + lane);
      store<V>(out.data() + lane, exp_lanes(v * splat<V>(0.7f)) + splat<V>(0.3f));
    });
    return std::vector<float>(out.begin() + shift, out.begin() + shift + 64);
  };
  const std::vector<float> reference = run(0);
  for (int64_t shift = 1; shift < 20; ++shift) EXPECT_EQ(run(shift), reference) << shift;
}

TEST(Parallel, ChunksDependOnSizeAlone) {
  const int threads = cpu_threads();
  constexpr int64_t kCount = 100'003;
  std::vector<float> x(kCount);
  Random random(1, 1);
  for (float& v : x) v = static_cast<float>(random.normal());
  const auto sums = [&] {
    constexpr int64_t kGrain = 1000;
    std::vector<float> parts((kCount + kGrain - 1) / kGrain);
    parallel_chunks(kCount, kGrain, [&](int64_t begin, int64_t end) {
      float sum = 0;
      for (int64_t i = begin; i < end; ++i) sum += x[static_cast<size_t>(i)];
      parts[static_cast<size_t>(begin / kGrain)] = sum;
    });
    return parts;
  };
  set_cpu_threads(1);
  const std::vector<float> one = sums();
  for (const int n : {2, 3, 4, 7}) {
    set_cpu_threads(n);
    EXPECT_EQ(sums(), one) << n << " threads";
  }
  set_cpu_threads(threads);
}

TEST(Parallel, RowsCoverEveryLaneOnce) {
  for (const int64_t rows : {0, 1, 5, 1000})
    for (const int64_t lanes : {0, 1, 33}) {
      std::vector<int> seen(static_cast<size_t>(rows * lanes));
      parallel_rows(kCpu, rows, lanes, 100, [&](int64_t row, int64_t first, int64_t count) {
        for (int64_t l = first; l < first + count; ++l) ++seen[static_cast<size_t>(row * lanes + l)];
      });
      for (const int s : seen) ASSERT_EQ(s, 1);
    }
}

TEST(Device, NamesAndErrors) {
  EXPECT_EQ(parse_device("cpu"), kCpu);
  EXPECT_EQ(parse_device("auto"), kCpu);
  EXPECT_THROW(parse_device("gpu"), Error);
  if (!cuda_available()) {
    EXPECT_THROW(parse_device("cuda"), Error);
  }
  ASSERT_FALSE(list_devices().empty());
  EXPECT_EQ(list_devices()[0].name, "cpu");
  EXPECT_GE(list_devices()[0].threads, 1);
  EXPECT_THROW(set_cpu_threads(0), Error);
}

}  // namespace
}  // namespace tidepool
