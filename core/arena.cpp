#include "core/arena.h"

#include <sys/mman.h>

#include <algorithm>

#include "core/error.h"

namespace tidepool {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;  // Linux's transparent huge pages on x86-64 and arm64
constexpr size_t kCpuSegment = size_t{64} << 30;
constexpr size_t kLimitedSegment = size_t{256} << 20;
constexpr size_t kGpuSegment = size_t{32} << 20;

size_t whole_huge_pages(size_t bytes) {
  return (bytes + kHugePage - 1) / kHugePage * kHugePage;
}

// `bytes` of address space at a huge page's boundary: misses in the TLB cost 7% of a convolution. nullptr: none.
std::byte* address_space(size_t bytes) {
  const size_t mapped = bytes + kHugePage;
  void* raw = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  const auto begin = reinterpret_cast<uintptr_t>(raw), aligned = (begin + kHugePage - 1) / kHugePage * kHugePage;
  if (aligned > begin) munmap(raw, aligned - begin);
  if (begin + mapped > aligned + bytes)
    munmap(reinterpret_cast<void*>(aligned + bytes), begin + mapped - aligned - bytes);
  void* base = reinterpret_cast<void*>(aligned);
  madvise(base, bytes, MADV_HUGEPAGE);
  return static_cast<std::byte*>(base);
}

}  // namespace

Arena::~Arena() {
  for (const Segment& s : segments_) {
    if (device_ == kCuda)
      device_memory::release(s.base);
    else
      munmap(s.base, s.size);
  }
}

void* Arena::take(size_t bytes) {
  const auto fit = by_size_.lower_bound({bytes, nullptr});
  if (fit == by_size_.end()) return nullptr;
  const auto [size, begin] = *fit;
  remove_free(free_.find(begin));
  if (size > bytes) add_free(begin + bytes, size - bytes);
  return begin;
}

void Arena::give(void* block, size_t bytes) {
  add_free(static_cast<std::byte*>(block), bytes);
}

bool Arena::grow(size_t bytes) {
  if (device_ == kCuda) return add_segment(whole_huge_pages(std::max(bytes, kGpuSegment)));
  for (bool fresh = false;; fresh = true) {
    if (!segments_.empty()) {
      Segment& s = segments_.back();
      const auto tail = tail_of(s);
      const size_t more = whole_huge_pages(bytes - (tail == free_.end() ? 0 : tail->second));
      if (s.used + more <= s.size) {
        // Here, and not when the space was reserved, the system says whether it has so much.
        if (mprotect(s.base + s.used, more, PROT_READ | PROT_WRITE) != 0) return false;
        s.used += more;
        add_free(s.base + s.used - more, more);
        return true;
      }
    }
    if (fresh || !add_segment(whole_huge_pages(bytes))) return false;
  }
}

bool Arena::add_segment(size_t bytes) {
  if (device_ == kCuda) {
    auto* const base = static_cast<std::byte*>(device_memory::allocate(bytes));
    if (!base) return false;
    segments_.push_back({base, bytes, bytes});
    add_free(base, bytes);
    return true;
  }
  // Less where address space is limited (ulimit -v): others need some too.
  for (const size_t size : {kCpuSegment, kLimitedSegment, bytes}) {
    if (size < bytes) continue;
    if (std::byte* base = address_space(size)) {
      segments_.push_back({base, size, 0});
      return true;
    }
  }
  return false;
}

void Arena::trim() {
  std::erase_if(segments_, [&](Segment& s) {
    const auto tail = tail_of(s);
    if (tail == free_.end()) return false;
    std::byte* const begin = tail->first;
    if (device_ == kCuda) {
      if (begin != s.base) return false;
      remove_free(tail);
      device_memory::release(s.base);
      return true;
    }
    const size_t kept = whole_huge_pages(static_cast<size_t>(begin - s.base));
    std::byte* const cut = s.base + kept;
    if (kept == s.used) return false;
    remove_free(tail);
    if (cut > begin) add_free(begin, static_cast<size_t>(cut - begin));
    madvise(cut, s.used - kept, MADV_DONTNEED);
    mprotect(cut, s.used - kept, PROT_NONE);
    s.used = kept;
    return false;
  });
}

size_t Arena::reserved_bytes() const {
  size_t sum = 0;
  for (const Segment& s : segments_) sum += s.used;
  return sum;
}

bool Arena::within_one_segment(const std::byte* a, const std::byte* b) const {
  return std::ranges::any_of(segments_, [&](const Segment& s) {
    const auto in = [&](const std::byte* p) { return p >= s.base && p < s.base + s.size; };
    return in(a) && in(b);
  });
}

Arena::Ranges::iterator Arena::tail_of(const Segment& segment) {
  auto it = free_.lower_bound(segment.base + segment.used);
  if (it == free_.begin()) return free_.end();
  --it;
  return it->first >= segment.base && it->first + it->second == segment.base + segment.used ? it : free_.end();
}

void Arena::add_free(std::byte* begin, size_t bytes) {
  const auto after = free_.find(begin + bytes);
  if (after != free_.end() && within_one_segment(begin, after->first)) {
    bytes += after->second;
    remove_free(after);
  }
  auto before = free_.lower_bound(begin);
  if (before != free_.begin()) {
    --before;
    if (before->first + before->second == begin && within_one_segment(before->first, begin)) {
      begin = before->first;
      bytes += before->second;
      remove_free(before);
    }
  }
  free_.emplace(begin, bytes);
  by_size_.emplace(bytes, begin);
}

void Arena::remove_free(Ranges::iterator range) {
  by_size_.erase({range->second, range->first});
  free_.erase(range);
}

}  // namespace tidepool
