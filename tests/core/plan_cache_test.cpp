#include "core/backend/plan_cache.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace tidepool {
namespace {

PlanKey key_of(int64_t a, int64_t b = 0) {
  PlanKey k;
  k.add(a);
  k.add(b);
  return k;
}

TEST(PlanCache, KeepsTheMostRecentlyUsed) {
  PlanCache<int> plans(3);
  int made = 0;
  const auto get = [&](int64_t n) { return *plans.get(key_of(n), [&] { return std::make_shared<int>(++made); }); };
  EXPECT_EQ(get(1), 1);
  EXPECT_EQ(get(2), 2);
  EXPECT_EQ(get(3), 3);
  EXPECT_EQ(get(1), 1);  // 2 is the oldest now
  EXPECT_EQ(get(4), 4);
  EXPECT_EQ(plans.size(), 3);
  EXPECT_EQ(get(1), 1);
  EXPECT_EQ(get(3), 3);
  EXPECT_EQ(get(2), 5);
  EXPECT_EQ(plans.made(), 5);
  plans.clear();
  EXPECT_EQ(plans.size(), 0);
  EXPECT_EQ(get(1), 6);
}

TEST(PlanCache, APlanInUseOutlivesItsPlace) {
  PlanCache<int> plans(1);
  const auto first = plans.get(key_of(1), [] { return std::make_shared<int>(7); });
  plans.get(key_of(2), [] { return std::make_shared<int>(8); });
  EXPECT_EQ(*first, 7);
}

TEST(PlanCache, WhatThrowsIsNotKept) {
  PlanCache<int> plans;
  EXPECT_THROW(plans.get(key_of(1), []() -> std::shared_ptr<int> { throw std::runtime_error("no"); }),
               std::runtime_error);
  EXPECT_EQ(*plans.get(key_of(1), [] { return std::make_shared<int>(2); }), 2);
  EXPECT_EQ(plans.made(), 1);
}

TEST(PlanCache, KeysAreTheirWordsInOrder) {
  EXPECT_EQ(key_of(1, 2), key_of(1, 2));
  EXPECT_NE(key_of(1, 2), key_of(2, 1));
  PlanKey shorter;
  shorter.add(1);
  EXPECT_NE(key_of(1, 0), shorter);
  PlanKey k;
  for (int i = 0; i < 40; ++i) k.add(i);
  EXPECT_THROW(k.add(40), Failure);
}

}  // namespace
}  // namespace tidepool
