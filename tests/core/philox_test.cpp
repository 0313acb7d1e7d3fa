#include "core/philox.h"

#include <gtest/gtest.h>

#include <bit>
#include <set>
#include <span>
#include <vector>

#include "core/cpu/normals.h"

namespace tidepool {
namespace {

using Words = std::array<uint32_t, 4>;

// Random123, examples/kat_vectors, philox4x32 10.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kAll = 0xffffffff;
  EXPECT_EQ(philox4x32({kAll, kAll, kAll, kAll}, {kAll, kAll}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, SeedStreamAndIndexAreTheKeyAndTheCounter) {
  EXPECT_EQ(random_words(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  static_assert(random_words(0, 0, 0)[0] == 0x6627e8d5, "usable at compile time");
}

TEST(Philox, UniformIsInRangeAndExact) {
  EXPECT_EQ(uniform24(0), 0.0f);
  EXPECT_EQ(uniform24(0xffffffff), 1.0f - 0x1p-24f);
  EXPECT_EQ(uniform24(0x80000000), 0.5f);
}

TEST(Random, IsAFunctionOfSeedStreamAndPlace) {
  Random a(7, 3), b(7, 3), other_seed(8, 3), other_stream(7, 4);
  std::vector<uint32_t> first, second;
  for (int i = 0; i < 100; ++i) first.push_back(a.word());
  for (int i = 0; i < 100; ++i) second.push_back(b.word());
  EXPECT_EQ(first, second);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(first[static_cast<size_t>(i)], random_words(7, 3, i / 4)[i % 4]);
  EXPECT_NE(first[0], other_seed.word());
  EXPECT_NE(first[0], other_stream.word());
  Random copy = a;  // a copy goes on from the same place
  EXPECT_EQ(copy.word(), a.word());
}

TEST(Random, GoesOnFromAnyWord) {
  Random whole(7, 3);
  std::vector<uint32_t> words;
  for (int i = 0; i < 40; ++i) words.push_back(whole.word());
  for (uint64_t first = 0; first < 20; ++first) {
    Random part(7, 3, first);
    for (size_t i = first; i < words.size(); ++i) ASSERT_EQ(part.word(), words[i]) << first;
  }
  Random all(7, 3);
  for (uint64_t i = 0; i < 10; ++i) {
    const double drawn = all.normal();
    ASSERT_EQ(Random(7, 3, i * Random::kWordsOfNormal).normal(), drawn) << i;
  }
}

TEST(Random, RunsOfNormalsHaveTheSameBits) {
  struct Case {
    uint64_t seed, stream, first;
    double deviation;
    size_t count;
  };
  std::vector<Case> cases{{1, 0, 0, 1, 1'000'003},
                          {uint64_t{5} << 40 | 9, uint64_t{7} << 33 | 5, (uint64_t{1} << 32) - 20'001, 0.0208, 50'000},
                          {3, 2, 5, 3e-40, 50'000},   // denormal, some 0
                          {4, 2, 5, -2e38, 50'000}};  // some infinite
  for (size_t count = 0; count < 20; ++count) cases.push_back({6, 1, count, 0.5, count});
  for (const Case& c : cases) {
    std::vector<float> drawn(c.count + 1, 42.0f);
    draw_normals(c.seed, c.stream, c.first, c.deviation, std::span(drawn).first(c.count));
    Random r(c.seed, c.stream, c.first * Random::kWordsOfNormal);
    for (size_t i = 0; i < c.count; ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(drawn[i]),
                std::bit_cast<uint32_t>(static_cast<float>(c.deviation * r.normal())))
          << c.seed << " " << i;
    EXPECT_EQ(drawn.back(), 42.0f);
  }
}

TEST(Random, UniformMoments) {
  Random r(1, 2);
  double sum = 0, squares = 0;
  constexpr int kCount = 200000;
  for (int i = 0; i < kCount; ++i) {
    const double u = r.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    squares += u * u;
  }
  EXPECT_NEAR(sum / kCount, 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
  EXPECT_NEAR(squares / kCount, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kCount));
}

TEST(Random, NormalMoments) {
  Random r(5, 0);
  double sum = 0, squares = 0, fourths = 0;
  constexpr int kCount = 200000;
  for (int i = 0; i < kCount; ++i) {
    const double u = r.normal();
    ASSERT_TRUE(std::isfinite(u));
    sum += u;
    squares += u * u;
    fourths += u * u * u * u;
  }
  EXPECT_NEAR(sum / kCount, 0, 5 * std::sqrt(1.0 / kCount));
  EXPECT_NEAR(squares / kCount, 1, 5 * std::sqrt(2.0 / kCount));
  EXPECT_NEAR(fourths / kCount, 3, 5 * std::sqrt(96.0 / kCount));
}

TEST(Random, BelowIsEvenAndComplete) {
  Random r(11, 0);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts[r.below(7)];
  for (int count : counts) EXPECT_NEAR(count, 10000, 5 * std::sqrt(10000.0));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(r.below(1), 0u);
}

}  // namespace
}  // namespace tidepool
