#include "core/allocator.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "core/cuda/runtime_api.h"
#include "core/error.h"
#include "core/observer.h"

namespace tidepool {
namespace {

constexpr size_t kSmallest = 256;
constexpr size_t kLargestSmall = size_t{256} << 10;
constexpr size_t kCudaUnit = 512;  // blocks of a GPU begin at multiples of it, as those of its runtime do

}  // namespace

size_t Allocator::arena_bytes(size_t wanted) const {
  return device_ == kCuda ? (wanted + kCudaUnit - 1) / kCudaUnit * kCudaUnit : wanted;
}

size_t Allocator::class_bytes(size_t bytes) {
  if (bytes <= kSmallest) return kSmallest;
  const size_t step = bytes <= kLargestSmall ? std::bit_floor(bytes - 1) / 4 : Arena::kUnit;
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
  Lent lent = cached(wanted);
  if (!lent.block) lent = from_system(wanted);
  if (!lent.block && !pool_) {  // a last try: what is cached goes back first
    trim_locked();
    lent = from_system(wanted);
  }
  if (!lent.block) throw Failure(out_of_memory(wanted));
  live_.emplace(lent.block, Sizes{lent.bytes, wanted, pool_});
  stats_.live_bytes += wanted;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  return lent.block;
}

void Allocator::release(void* block) {
  if (!block) return;
  const std::lock_guard lock(mutex_);
  const auto it = live_.find(block);
  const auto [bytes, counted, pool] = it->second;
  stats_.live_bytes -= counted;
  live_.erase(it);
  if (Arena* const arena = arena_of(counted, pool))
    arena->give(block, bytes);
  else
    free_[bytes].push_back(block);
}

Arena* Allocator::arena_of(size_t wanted, const std::shared_ptr<Pool>& pool) {
  Pool& of = pool ? *pool : own_;
  if (wanted > kLargestSmall) return &of.large;
  return device_ == kCuda ? &of.small : nullptr;
}

std::string Allocator::out_of_memory(size_t wanted) const {
  const std::string& layer = LayerScope::path();
  std::string text = fmt::format("out of memory: {}{}{} bytes on {} ({} bytes are in use", layer,
                                 layer.empty() ? "" : " asks for ", wanted, name_of(device_), stats_.live_bytes);
  if (device_ == kCuda)
    text += fmt::format(", {} are held, {} are free on the device", reserved_bytes(), cuda::free_bytes());
  return text + ")";
}

size_t Allocator::reserved_bytes() const {
  size_t bytes = small_bytes_ + own_.large.reserved_bytes() + own_.small.reserved_bytes();
  for (const auto& other : others_)
    if (const auto pool = other.lock()) bytes += pool->large.reserved_bytes() + pool->small.reserved_bytes();
  return bytes;
}

void Allocator::trim() {
  const std::lock_guard lock(mutex_);
  trim_locked();
}

void Allocator::trim_locked() {
  for (auto& [bytes, blocks] : free_) {
    for (void* block : blocks) {
      std::free(block);
      small_bytes_ -= bytes;
    }
    blocks.clear();
  }
  own_.large.trim();
  own_.small.trim();
}

MemoryStats Allocator::stats() const {
  const std::lock_guard lock(mutex_);
  MemoryStats stats = stats_;
  stats.reserved_bytes = reserved_bytes();
  return stats;
}

void Allocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak_bytes = stats_.live_bytes;
}

Allocator::Lent Allocator::cached(size_t wanted) {
  if (Arena* const arena = arena_of(wanted, pool_)) {
    const size_t bytes = arena_bytes(wanted);
    return {arena->take(bytes), bytes};
  }
  for (auto it = free_.lower_bound(wanted); it != free_.end() && it->first <= 2 * wanted; ++it) {
    if (it->second.empty()) continue;
    void* block = it->second.back();
    it->second.pop_back();
    return {block, it->first};
  }
  return {};
}

Allocator::Lent Allocator::from_system(size_t wanted) {
  ++stats_.system_calls;
  if (Arena* const arena = arena_of(wanted, pool_)) {
    const size_t bytes = arena_bytes(wanted);
    return {arena->grow(bytes) ? arena->take(bytes) : nullptr, bytes};
  }
  void* const block = std::aligned_alloc(64, wanted);
  if (block) small_bytes_ += wanted;
  return {block, wanted};
}

MemoryPool::MemoryPool() : pool_(std::make_shared<Allocator::Pool>(kCuda)) {
  Allocator& all = Allocator::of(kCuda);
  const std::lock_guard lock(all.mutex_);
  std::erase_if(all.others_, [](const auto& other) { return other.expired(); });
  all.others_.push_back(pool_);
}

MemoryPool::Scope::Scope(const MemoryPool& pool) {
  Allocator& all = Allocator::of(kCuda);
  const std::lock_guard lock(all.mutex_);
  all.pool_ = pool.pool_;
}
MemoryPool::Scope::~Scope() {
  Allocator& all = Allocator::of(kCuda);
  const std::lock_guard lock(all.mutex_);
  all.pool_ = nullptr;
}

}  // namespace tidepool
