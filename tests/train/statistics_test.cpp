// Student's t and the summaries, against published and closed-form values.
#include "train/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "core/error.h"

namespace tidepool {
namespace {

TEST(Statistics, IncompleteBetaClosedForms) {
  for (const double x : {0.0, 1e-6, 0.1, 0.37, 0.5, 0.9, 1.0}) {
    EXPECT_NEAR(incomplete_beta(1, 1, x), x, 1e-14);
    EXPECT_NEAR(incomplete_beta(2, 3, x), x * x * (6 - 8 * x + 3 * x * x), 1e-14);
    EXPECT_NEAR(incomplete_beta(0.5, 0.5, x), 2 / std::numbers::pi * std::asin(std::sqrt(x)), 1e-13);
    EXPECT_NEAR(incomplete_beta(5, 0.5, x) + incomplete_beta(0.5, 5, 1 - x), 1, 1e-13);
  }
  EXPECT_THROW(incomplete_beta(0, 1, 0.5), Error);
  EXPECT_THROW(incomplete_beta(1, 1, 1.5), Error);
}

TEST(Statistics, StudentQuantiles) {
  // The usual table (two-sided 95%), in full.
  EXPECT_NEAR(student_t_quantile(0.975, 1), 12.706204736432095, 1e-9);
  EXPECT_NEAR(student_t_quantile(0.975, 2), 0.95 * std::sqrt(2 / (4 * 0.975 * 0.025)), 1e-12);
  EXPECT_NEAR(student_t_quantile(0.975, 3), 3.182446305284263, 1e-10);
  EXPECT_NEAR(student_t_quantile(0.975, 4), 2.7764451051977987, 1e-10);
  EXPECT_NEAR(student_t_quantile(0.975, 9), 2.2621571627409915, 1e-10);
  EXPECT_NEAR(student_t_quantile(0.975, 30), 2.0422724563012373, 1e-10);
  EXPECT_NEAR(student_t_quantile(0.95, 10), 1.8124611228107335, 1e-10);
  EXPECT_NEAR(student_t_quantile(0.975, 1e7), 1.959964, 1e-5);  // the normal distribution's
  EXPECT_NEAR(student_t_quantile(0.025, 4), -2.7764451051977987, 1e-10);
  EXPECT_EQ(student_t_quantile(0.5, 4), 0);
  EXPECT_NEAR(student_t_quantile(0.999999, 1) / std::tan(std::numbers::pi * (0.999999 - 0.5)), 1, 1e-9);  // Cauchy
  for (const double f : {1.0, 2.0, 7.5, 100.0})
    for (const double p : {1e-6, 0.01, 0.3, 0.6, 0.99})
      EXPECT_NEAR(student_t_cdf(student_t_quantile(p, f), f), p, 1e-12);
  EXPECT_THROW(student_t_quantile(1, 4), Error);
  EXPECT_THROW(student_t_quantile(0.5, 0), Error);
}

TEST(Statistics, StudentCdfClosedForms) {
  for (const double t : {-30.0, -1.0, 0.0, 0.2, 3.0}) {
    EXPECT_NEAR(student_t_cdf(t, 1), 0.5 + std::atan(t) / std::numbers::pi, 1e-13);
    EXPECT_NEAR(student_t_cdf(t, 2), 0.5 + t / (2 * std::sqrt(2 + t * t)), 1e-13);
  }
}

TEST(Statistics, Summaries) {
  EXPECT_FALSE(summarize({}));
  const auto one = summarize(std::vector<double>{3});
  EXPECT_EQ(one->mean, 3);
  EXPECT_FALSE(one->deviation);
  const auto many = summarize(std::vector<double>{2, 4, 4, 4, 5, 5, 7, 9});
  EXPECT_EQ(many->n, 8);
  EXPECT_DOUBLE_EQ(many->mean, 5);
  EXPECT_DOUBLE_EQ(*many->deviation, std::sqrt(32.0 / 7));
}

TEST(Statistics, PairedDifferencesUseCommonSeedsOnly) {
  EXPECT_FALSE(paired_difference({{1, 5.0}}, {{2, 3.0}}));
  const auto one = paired_difference({{1, 5.0}, {2, 100.0}}, {{1, 3.0}, {3, -100.0}});
  EXPECT_EQ(one->n, 1);
  EXPECT_EQ(one->mean, 2);
  EXPECT_FALSE(one->interval);
  // Differences 1, 2, 3: mean 2, deviation 1, half width 4.3027 / sqrt(3).
  const auto three = paired_difference({{1, 11.0}, {2, 22.0}, {3, 33.0}, {9, 0.0}}, {{1, 10.0}, {2, 20.0}, {3, 30.0}});
  EXPECT_EQ(three->n, 3);
  EXPECT_DOUBLE_EQ(three->mean, 2);
  EXPECT_NEAR(three->interval->first, 2 - 4.302652729749461 / std::sqrt(3.0), 1e-10);
  EXPECT_NEAR(three->interval->second, 2 + 4.302652729749461 / std::sqrt(3.0), 1e-10);
}

}  // namespace
}  // namespace tidepool
