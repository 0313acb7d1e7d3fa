// A caching allocator with size classes: a steady training step takes nothing from the system, also when map sizes
// change from step to step.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "core/device.h"

namespace tidepool {

/// Counts of one device's allocator. Bytes are those of the request's size class, so that they do not
/// depend on what ran before (a larger block that was lent counts as what was asked for).
struct MemoryStats {
  size_t live_bytes = 0;      ///< handed out now
  size_t peak_bytes = 0;      ///< largest live_bytes since the start or reset_peak()
  size_t reserved_bytes = 0;  ///< held from the system, live or cached
  uint64_t system_calls = 0;  ///< times that memory was asked from the system
};

/// Thread-safe. A freed block is kept in its class (four classes an octave, so at most a quarter is wasted) and serves
/// the next request of that class, or of one up to half its size when that has no block of its own.
class Allocator {
 public:
  explicit Allocator(Device device) : device_(device) {}
  ~Allocator();
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  /// At least `bytes` bytes (0 gives nullptr), aligned to 64; not initialised. Throws Failure when the system has none.
  void* allocate(size_t bytes);
  void release(void* block);
  /// Returns every cached block to the system.
  void trim();

  MemoryStats stats() const;
  void reset_peak();

  /// The bytes that a request of `bytes` occupies.
  static size_t class_bytes(size_t bytes);

  /// The process's allocator of that device.
  static Allocator& of(Device device);

 private:
  void* from_system(size_t bytes);
  void to_system(void* block, size_t bytes);
  void trim_locked();

  const Device device_;
  mutable std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;  // class -> blocks
  struct Lent {
    size_t block, counted;  // the classes of the block and of the request
  };
  std::map<void*, Lent> live_;
  MemoryStats stats_;
};

}  // namespace tidepool
