// Large blocks of memory, cut from segments, so that what a process holds is little more than what it uses at its peak,
// whatever sizes come and go.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "core/device.h"

namespace tidepool {

/// The smallest free range that fits serves a request, from its beginning; free neighbours are one range. On the CPU a
/// segment is address space, and becomes memory from its beginning on as that is needed. Not thread-safe.
class Arena {
 public:
  /// On the CPU blocks begin at multiples of it and are multiples of it.
  static constexpr size_t kUnit = 4096;

  explicit Arena(Device device) : device_(device) {}
  /// Gives everything back.
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// `bytes`: a positive multiple of what blocks begin at. nullptr when no free range fits.
  void* take(size_t bytes);
  /// Has the system add a free range of `bytes` bytes; false when it does not.
  bool grow(size_t bytes);
  /// A block of take() with its size.
  void give(void* block, size_t bytes);
  /// Gives back what is free: on the CPU at the end of what a segment uses, on a GPU the segments that are free as a
  /// whole.
  void trim();

  /// Memory held from the system.
  size_t reserved_bytes() const;

 private:
  struct Segment {
    std::byte* base;
    size_t size;  // of the address space
    size_t used;  // of them memory, multiples of a huge page; on a GPU all
  };
  using Ranges = std::map<std::byte*, size_t>;

  bool add_segment(size_t bytes);
  bool within_one_segment(const std::byte* a, const std::byte* b) const;
  /// The free range that ends where the segment's used memory does, or free_.end().
  Ranges::iterator tail_of(const Segment& segment);
  void add_free(std::byte* begin, size_t bytes);
  void remove_free(Ranges::iterator range);

  const Device device_;
  std::vector<Segment> segments_;
  Ranges free_;
  std::set<std::pair<size_t, std::byte*>> by_size_;
};

}  // namespace tidepool
