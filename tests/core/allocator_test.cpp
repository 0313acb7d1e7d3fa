#include "core/allocator.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/philox.h"
#include "core/tensor.h"

namespace tidepool {
namespace {

TEST(Allocator, ClassesWasteAtMostAQuarterAndLargeBlocksAPage) {
  size_t last = 0;
  for (size_t bytes = 1; bytes < 3'000'000; bytes += 1 + bytes / 97) {
    const size_t c = Allocator::class_bytes(bytes);
    ASSERT_GE(c, bytes);
    ASSERT_GE(c, last);
    ASSERT_EQ(c % 64, 0u) << bytes;
    ASSERT_EQ(Allocator::class_bytes(c), c) << bytes;
    if (bytes > 256) {
      ASSERT_LE(static_cast<double>(c), 1.25 * static_cast<double>(bytes)) << bytes;
    }
    if (bytes > 300'000) {
      ASSERT_LT(c, bytes + Arena::kUnit) << bytes;
    }
    last = c;
  }
  EXPECT_EQ(Allocator::class_bytes(1), 256u);
}

TEST(Allocator, CountsLiveAndPeak) {
  Allocator a(kCpu);
  EXPECT_EQ(a.allocate(0), nullptr);
  a.release(nullptr);
  void* p = a.allocate(1000);
  void* q = a.allocate(5'000'000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(q) % 64, 0u);
  std::memset(q, 1, 5'000'000);
  const size_t both = Allocator::class_bytes(1000) + Allocator::class_bytes(5'000'000);
  EXPECT_EQ(a.stats().live_bytes, both);
  EXPECT_EQ(a.stats().system_calls, 2u);
  a.release(q);
  EXPECT_EQ(a.stats().live_bytes, Allocator::class_bytes(1000));
  EXPECT_EQ(a.stats().peak_bytes, both);
  const size_t reserved = a.stats().reserved_bytes;
  EXPECT_GE(reserved, both);
  EXPECT_LE(reserved, both + (size_t{2} << 20));  // of large blocks, memory comes in huge pages
  a.reset_peak();
  EXPECT_EQ(a.stats().peak_bytes, a.stats().live_bytes);
  a.trim();
  EXPECT_EQ(a.stats().reserved_bytes, Allocator::class_bytes(1000));
  a.release(p);
  a.trim();
  EXPECT_EQ(a.stats().reserved_bytes, 0u);
  EXPECT_EQ(a.stats().live_bytes, 0u);
}

TEST(Allocator, ReusesBlocks) {
  Allocator a(kCpu);
  void* p = a.allocate(100'000);
  a.release(p);
  EXPECT_EQ(a.allocate(100'001), p);  // of one class
  void* small = a.allocate(100);
  EXPECT_NE(small, p);
  a.release(p);
  EXPECT_EQ(a.allocate(60'000), p);  // a block up to twice the size serves
  a.release(p);
  void* medium = a.allocate(20'000);
  EXPECT_NE(medium, p);  // a larger one does not
  a.release(small);
  a.release(medium);
}

TEST(Allocator, LargeBlocksShareWhatIsFree) {
  Allocator a(kCpu);
  constexpr size_t kMiB = size_t{1} << 20;
  void *p = a.allocate(6 * kMiB), *q = a.allocate(6 * kMiB), *end = a.allocate(kMiB);
  const MemoryStats before = a.stats();
  a.release(p);
  a.release(q);
  void *all = a.allocate(11 * kMiB), *rest = a.allocate(kMiB);
  std::memset(all, 1, 11 * kMiB);
  EXPECT_EQ(a.stats().system_calls, before.system_calls);
  EXPECT_EQ(a.stats().reserved_bytes, before.reserved_bytes);
  for (void* block : {all, rest, end}) a.release(block);
  EXPECT_EQ(a.stats().live_bytes, 0u);
}

TEST(Allocator, ASteadyLoopOfChangingSizesAsksTheSystemForNothing) {
  Allocator a(kCpu);
  const auto step = [&](uint64_t seed) {
    // A training step in miniature: maps whose sizes change a little from step to step, freed in another order.
    Random r(seed, 0);
    std::vector<void*> blocks;
    for (int layer = 0; layer < 12; ++layer)
      blocks.push_back(a.allocate(size_t{1} << (12 + layer % 8) | r.below(1u << (9 + layer % 8))));
    for (size_t i = 0; i < blocks.size(); i += 2) a.release(blocks[i]);
    for (size_t i = 1; i < blocks.size(); i += 2) a.release(blocks[i]);
  };
  for (uint64_t i = 0; i < 200; ++i) step(i % 50);
  const uint64_t calls = a.stats().system_calls;
  for (uint64_t i = 0; i < 1000; ++i) step(i % 50);
  EXPECT_EQ(a.stats().system_calls, calls);
  EXPECT_EQ(a.stats().live_bytes, 0u);
}

TEST(Allocator, TensorsAreCounted) {
  Allocator& a = Allocator::of(kCpu);
  const size_t before = a.stats().live_bytes;
  {
    const Tensor x = Tensor::empty({1000, 1000});
    EXPECT_EQ(a.stats().live_bytes - before, Allocator::class_bytes(4'000'000));
    const Tensor view = x.slice(0, 0, 10);
    EXPECT_EQ(a.stats().live_bytes - before, Allocator::class_bytes(4'000'000));
  }
  EXPECT_EQ(a.stats().live_bytes, before);
}

TEST(Allocator, SaysWhenThereIsNoMore) {
  Allocator a(kCpu);
  EXPECT_THROW(a.allocate(size_t{1} << 60), Failure);
  EXPECT_EQ(a.stats().live_bytes, 0u);
}

TEST(Allocator, ManyThreads) {
  Allocator a(kCpu);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&a, t] {
      Random r(t, 0);
      for (int i = 0; i < 2000; ++i) {
        const size_t bytes = 1 + r.below(10'000);
        auto* p = static_cast<unsigned char*>(a.allocate(bytes));
        p[0] = p[bytes - 1] = static_cast<unsigned char>(t);
        if (p[0] != t || p[bytes - 1] != t) std::abort();
        a.release(p);
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(a.stats().live_bytes, 0u);
}

}  // namespace
}  // namespace tidepool
