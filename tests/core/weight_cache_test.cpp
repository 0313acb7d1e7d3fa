#include "core/cpu/weight_cache.h"

#include <gtest/gtest.h>

namespace tidepool {
namespace {

constexpr int64_t kLength = 16;
constexpr size_t kBytes = kLength * sizeof(float);
using Cache = WeightCache<int>;

// Counts how often copies are made and whether in memory of old ones.
struct Maker {
  int made = 0, in_place = 0;

  auto from(const Tensor& w) {
    return [this, w](Tensor& to) {
      ++made;
      if (to)
        ++in_place;
      else
        to = Tensor::empty({kLength});
      to.fill(w.data<float>()[0]);
    };
  }
};

float value(const Tensor& t) {
  return t.data<float>()[0];
}

CacheStats stats_of(Cache& cache) {
  CacheStats s;
  cache.add_to(s);
  return s;
}

TEST(WeightCache, KeepsFromTheFirstUseUntilTheWeightsChange) {
  Cache cache(Cache::From::first_use, 1 << 20);
  Maker maker;
  const Tensor w = Tensor::full({4}, 3);
  EXPECT_EQ(value(cache.get(w, 0, maker.from(w))), 3);
  EXPECT_EQ(value(cache.get(w, 0, maker.from(w))), 3);
  EXPECT_EQ(maker.made, 1);
  w.fill(5);
  EXPECT_EQ(value(cache.get(w, 0, maker.from(w))), 5);
  EXPECT_EQ(maker.made, 2);
  EXPECT_EQ(maker.in_place, 1);
  EXPECT_EQ(stats_of(cache).weights, 1);
  EXPECT_EQ(stats_of(cache).weight_bytes, static_cast<int64_t>(cache.get(w, 0, maker.from(w)).storage().bytes));
}

TEST(WeightCache, KeepsFromTheSecondUseOfTheSameWeights) {
  Cache cache(Cache::From::second_use, 1 << 20);
  Maker maker;
  const Tensor w = Tensor::full({4}, 3);
  for (int step = 0; step < 4; ++step) {  // training: each version is used once
    EXPECT_FALSE(cache.get(w, 0, maker.from(w)));
    w.mutable_raw();
  }
  EXPECT_EQ(maker.made, 0);
  EXPECT_EQ(stats_of(cache).weights, 0);
  EXPECT_FALSE(cache.get(w, 0, maker.from(w)));
  EXPECT_EQ(value(cache.get(w, 0, maker.from(w))), 3);
  EXPECT_EQ(value(cache.get(w, 0, maker.from(w))), 3);
  EXPECT_EQ(maker.made, 1);
  w.fill(5);
  EXPECT_FALSE(cache.get(w, 0, maker.from(w)));
  EXPECT_EQ(stats_of(cache).weight_bytes, 0);  // what was kept is gone
  EXPECT_EQ(value(cache.get(w, 0, maker.from(w))), 5);
}

TEST(WeightCache, TellsLayoutsAndPlacesApart) {
  Cache cache(Cache::From::first_use, 1 << 20);
  Maker maker;
  const Tensor w = Tensor::from<float>({1, 2, 3, 4}, {4}), half = w.slice(0, 2, 2);
  EXPECT_EQ(value(cache.get(w, 0, maker.from(w))), 1);
  EXPECT_EQ(value(cache.get(half, 0, maker.from(half))), 3);
  cache.get(w, 1, maker.from(w));
  EXPECT_EQ(maker.made, 3);
  EXPECT_EQ(value(cache.get(w, 0, maker.from(w))), 1);
  EXPECT_EQ(maker.made, 3);
  cache.clear();
  EXPECT_EQ(stats_of(cache).weight_bytes, 0);
  cache.get(w, 0, maker.from(w));
  EXPECT_EQ(maker.made, 4);
}

TEST(WeightCache, TheLeastRecentlyUsedGoFirst) {
  Cache cache(Cache::From::first_use, 2 * kBytes);
  Maker maker;
  const Tensor a = Tensor::full({4}, 1), b = Tensor::full({4}, 2), c = Tensor::full({4}, 3);
  cache.get(a, 0, maker.from(a));
  cache.get(b, 0, maker.from(b));
  cache.get(a, 0, maker.from(a));
  cache.get(c, 0, maker.from(c));  // in the place of b
  EXPECT_EQ(maker.made, 3);
  cache.get(a, 0, maker.from(a));
  EXPECT_EQ(maker.made, 3);
  cache.get(b, 0, maker.from(b));
  EXPECT_EQ(maker.made, 4);
  EXPECT_LE(stats_of(cache).weight_bytes, static_cast<int64_t>(2 * kBytes));
}

TEST(WeightCache, IsBoundedInEntries) {
  Cache cache(Cache::From::first_use, size_t{1} << 30);
  Maker maker;
  for (int i = 0; i < 600; ++i) {
    const Tensor w = Tensor::full({4}, i);
    EXPECT_EQ(value(cache.get(w, 0, maker.from(w))), static_cast<float>(i));
  }
  EXPECT_LE(stats_of(cache).weights, 512);
}

}  // namespace
}  // namespace tidepool
