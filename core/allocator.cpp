#include "core/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "core/error.h"

namespace tidepool {
namespace {

constexpr size_t kSmallest = 256;
constexpr size_t kMapped = size_t{1} << 20;    // from here on a block is a mapping of its own
constexpr size_t kHugePage = size_t{2} << 20;  // Linux's transparent huge pages on x86-64 and arm64

}  // namespace

size_t Allocator::class_bytes(size_t bytes) {
  if (bytes <= kSmallest) return kSmallest;
  const size_t step = std::bit_floor(bytes - 1) / 4;
  return (bytes + step - 1) / step * step;
}

Allocator::~Allocator() {
  const std::lock_guard lock(mutex_);
  trim_locked();
}

Allocator& Allocator::of(Device device) {
  // Never destroyed: tensors with static lifetime may outlive any order of destruction.
  static Allocator* cpu = new Allocator(kCpu);
  static Allocator* cuda = new Allocator(kCuda);
  return device == kCpu ? *cpu : *cuda;
}

void* Allocator::allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  if (bytes > size_t{1} << 46) throw Failure("out of memory: {} bytes were asked for on {}", bytes, name_of(device_));
  const size_t wanted = class_bytes(bytes);
  const std::lock_guard lock(mutex_);
  void* block = nullptr;
  size_t got = wanted;
  for (auto it = free_.lower_bound(wanted); it != free_.end() && it->first <= 2 * wanted; ++it) {
    if (it->second.empty()) continue;
    block = it->second.back();
    it->second.pop_back();
    got = it->first;
    break;
  }
  if (!block) {
    block = from_system(wanted);
    if (!block) {  // a last try: what is cached in other classes goes back first
      trim_locked();
      block = from_system(wanted);
    }
    if (!block)
      throw Failure("out of memory: {} bytes on {} ({} bytes are in use)", wanted, name_of(device_), stats_.live_bytes);
    stats_.reserved_bytes += wanted;
    ++stats_.system_calls;
  }
  live_.emplace(block, Lent{got, wanted});
  stats_.live_bytes += wanted;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  return block;
}

void Allocator::release(void* block) {
  if (!block) return;
  const std::lock_guard lock(mutex_);
  const auto it = live_.find(block);
  stats_.live_bytes -= it->second.counted;
  free_[it->second.block].push_back(block);
  live_.erase(it);
}

void Allocator::trim() {
  const std::lock_guard lock(mutex_);
  trim_locked();
}

void Allocator::trim_locked() {
  for (auto& [bytes, blocks] : free_) {
    for (void* block : blocks) {
      to_system(block, bytes);
      stats_.reserved_bytes -= bytes;
    }
    blocks.clear();
  }
}

MemoryStats Allocator::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void Allocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak_bytes = stats_.live_bytes;
}

void* Allocator::from_system(size_t bytes) {
  if (device_ == kCuda) {
    try {
      return device_memory::allocate(bytes);
    } catch (const Failure&) {
      return nullptr;
    }
  }
  if (bytes < kMapped) return std::aligned_alloc(64, bytes);
  // Over-map and cut to a huge page's boundary: huge pages need it, and misses in the TLB cost 7% of a convolution.
  const size_t mapped = bytes + kHugePage;
  void* raw = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  const auto begin = reinterpret_cast<uintptr_t>(raw);
  const uintptr_t aligned = (begin + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = (aligned + bytes + 4095) / 4096 * 4096;
  if (aligned > begin) munmap(raw, aligned - begin);
  if (begin + mapped > end) munmap(reinterpret_cast<void*>(end), begin + mapped - end);
  void* block = reinterpret_cast<void*>(aligned);
  madvise(block, bytes, MADV_HUGEPAGE);
  return block;
}

void Allocator::to_system(void* block, size_t bytes) {
  if (device_ == kCuda)
    device_memory::release(block);
  else if (bytes < kMapped)
    std::free(block);
  else
    munmap(block, (bytes + 4095) / 4096 * 4096);
}

}  // namespace tidepool
