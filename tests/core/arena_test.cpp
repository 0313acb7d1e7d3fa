#include "core/arena.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstring>
#include <vector>

#include "core/philox.h"

namespace tidepool {
namespace {

constexpr size_t kUnit = Arena::kUnit;
constexpr size_t kGrowth = size_t{2} << 20;  // the memory that is asked for at once

std::byte* at(void* block) {
  return static_cast<std::byte*>(block);
}

TEST(Arena, CutsAndJoinsRanges) {
  Arena a(kCpu);
  EXPECT_EQ(a.take(kUnit), nullptr);
  EXPECT_EQ(a.reserved_bytes(), 0u);
  ASSERT_TRUE(a.grow(kGrowth));
  EXPECT_EQ(a.reserved_bytes(), kGrowth);
  EXPECT_EQ(a.take(kGrowth + kUnit), nullptr);

  void *const p = a.take(3 * kUnit), *const q = a.take(2 * kUnit), *const r = a.take(kUnit);
  EXPECT_EQ(at(q), at(p) + 3 * kUnit);
  EXPECT_EQ(at(r), at(q) + 2 * kUnit);
  a.give(p, 3 * kUnit);
  EXPECT_EQ(a.take(4 * kUnit), at(r) + kUnit);  // the hole is too small
  EXPECT_EQ(a.take(2 * kUnit), p);              // and fits best here, from its beginning
  a.give(p, 2 * kUnit);
  a.give(q, 2 * kUnit);
  EXPECT_EQ(a.take(5 * kUnit), p);  // the neighbours behind and before have become one
  EXPECT_EQ(a.reserved_bytes(), kGrowth);
}

TEST(Arena, GrowsByWhatItsLastRangeLacks) {
  Arena a(kCpu);
  ASSERT_TRUE(a.grow(kUnit));
  void* const p = a.take(kUnit);
  ASSERT_TRUE(a.grow(kGrowth));  // of which all but a unit is there
  EXPECT_EQ(a.reserved_bytes(), 2 * kGrowth);
  void* const q = a.take(kGrowth);
  ASSERT_EQ(at(q), at(p) + kUnit);
  std::memset(q, 1, kGrowth);
}

TEST(Arena, TrimsWhatIsFreeAtTheEnd) {
  Arena a(kCpu);
  ASSERT_TRUE(a.grow(8 * kGrowth));
  void *const p = a.take(kGrowth), *const q = a.take(kGrowth + kUnit);
  std::memset(q, 1, kGrowth + kUnit);
  void* const r = a.take(2 * kGrowth);
  a.give(r, 2 * kGrowth);
  a.trim();
  EXPECT_EQ(a.reserved_bytes(), 3 * kGrowth);  // whole huge pages
  void* const s = a.take(kGrowth - kUnit);
  EXPECT_EQ(at(s), at(q) + kGrowth + kUnit);  // what is left of the last one serves
  a.give(s, kGrowth - kUnit);
  a.give(p, kGrowth);
  a.trim();
  EXPECT_EQ(a.reserved_bytes(), 3 * kGrowth);  // what lies before a live block stays
  EXPECT_EQ(at(q)[kGrowth], std::byte{1});
  a.give(q, kGrowth + kUnit);
  a.trim();
  EXPECT_EQ(a.reserved_bytes(), 0u);
  ASSERT_TRUE(a.grow(kGrowth));
  std::memset(a.take(kGrowth), 1, kGrowth);
}

// What comes and goes at random keeps its bytes, and ranges join until all is one again.
TEST(Arena, KeepsBlocksApart) {
  Arena a(kCpu);
  Random r(1, 0);
  struct Block {
    std::byte* begin;
    size_t bytes;
    std::byte mark;
  };
  std::vector<Block> live;
  size_t largest = 0, sum = 0;
  for (int i = 0; i < 4000; ++i) {
    if (live.size() < 20 || (live.size() < 40 && r.below(2) == 0)) {
      const size_t bytes = kUnit * (1 + r.below(300));
      void* p = a.take(bytes);
      if (!p) {
        ASSERT_TRUE(a.grow(bytes));
        p = a.take(bytes);
      }
      ASSERT_NE(p, nullptr);
      const Block block{at(p), bytes, static_cast<std::byte>(i % 251)};
      std::memset(p, static_cast<int>(block.mark), bytes);
      live.push_back(block);
      largest = std::max(largest, sum += bytes);
    } else {
      std::swap(live[r.below(static_cast<uint32_t>(live.size()))], live.back());
      const Block block = live.back();
      live.pop_back();
      for (const size_t place : {size_t{0}, block.bytes / 2, block.bytes - 1})
        ASSERT_EQ(block.begin[place], block.mark);
      a.give(block.begin, block.bytes);
      sum -= block.bytes;
    }
  }
  EXPECT_LE(static_cast<double>(a.reserved_bytes()), 1.5 * static_cast<double>(largest));
  const size_t reserved = a.reserved_bytes();
  for (const Block& block : live) a.give(block.begin, block.bytes);
  EXPECT_NE(a.take(reserved), nullptr);
}

// Where address space is limited (ulimit -v) it takes what it needs, and says when there is no more.
TEST(ArenaDeathTest, LivesWithinALimitOnAddressSpace) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer has taken more address space than the limit";
#endif
  const auto limited = [] {
    rlimit limit{};
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = rlim_t{4} << 30;
    if (setrlimit(RLIMIT_AS, &limit) != 0) std::exit(3);
    Arena a(kCpu);
    const bool grew = a.grow(size_t{64} << 20);
    void* const block = a.take(size_t{64} << 20);
    if (block) std::memset(block, 1, size_t{64} << 20);
    const bool more = a.grow(size_t{512} << 20) && a.take(size_t{512} << 20);
    std::exit(grew && block && more && !a.grow(size_t{8} << 30) ? 0 : 1);
  };
  EXPECT_EXIT(limited(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace tidepool
