// A caching allocator: a steady training step takes nothing from the system, also when map sizes change from step to
// step. Small blocks have size classes, large ones are cut from an arena.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/device.h"

namespace tidepool {

/// Counts of one device's allocator. Bytes are those of class_bytes(request), so that they do not depend on what ran
/// before (a larger small block that was lent counts as what was asked for).
struct MemoryStats {
  size_t live_bytes = 0;      ///< handed out now
  size_t peak_bytes = 0;      ///< largest live_bytes since the start or reset_peak()
  size_t reserved_bytes = 0;  ///< held from the system, live or cached
  uint64_t system_calls = 0;  ///< times that memory was asked from the system, or was touched for the first time
};

/// Thread-safe. A small block (up to a quarter MiB) that is freed is kept in its class (four classes per octave, so at
/// most a quarter is wasted) and serves the next request of that class, or of one up to half its size when that has no
/// block of its own. Large ones are the Arena's. On a GPU small ones are cut from an arena of their own, and what is
/// freed may be lent again at once: the compute stream, on which all its users run, keeps the order.
class Allocator {
 public:
  explicit Allocator(Device device) : device_(device), own_(device) {}
  ~Allocator();
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  /// At least `bytes` bytes (0 gives nullptr), aligned to 64; not initialised. Where the system has none, what is
  /// cached goes back and it is asked once more; throws Failure when that fails too.
  void* allocate(size_t bytes);
  void release(void* block);
  /// Returns to the system what is cached: every small block, and what the Arena can.
  void trim();

  MemoryStats stats() const;
  void reset_peak();

  /// The bytes that a request of `bytes` occupies.
  static size_t class_bytes(size_t bytes);

  /// The process's allocator of that device.
  static Allocator& of(Device device);

 private:
  friend class MemoryPool;
  struct Pool {
    explicit Pool(Device device) : large(device), small(device) {}
    Arena large, small;
  };
  struct Lent {
    void* block = nullptr;  // none: nullptr
    size_t bytes = 0;
  };
  struct Sizes {
    size_t block, counted;       // bytes: of the block and of the request's class
    std::shared_ptr<Pool> pool;  // null: the allocator's own
  };

  Lent cached(size_t wanted);
  Lent from_system(size_t wanted);
  void trim_locked();
  // Of a class; nullptr: small blocks of the CPU, which have lists.
  Arena* arena_of(size_t wanted, const std::shared_ptr<Pool>& pool);
  size_t arena_bytes(size_t wanted) const;
  size_t reserved_bytes() const;
  std::string out_of_memory(size_t wanted) const;

  const Device device_;
  mutable std::mutex mutex_;
  Pool own_;
  std::shared_ptr<Pool> pool_;                 // that allocates now; null: own_
  std::vector<std::weak_ptr<Pool>> others_;    // all but own_
  std::map<size_t, std::vector<void*>> free_;  // class -> small blocks
  std::map<void*, Sizes> live_;
  size_t small_bytes_ = 0;  // held, live or cached
  MemoryStats stats_;       // reserved_bytes is made when asked for
};

/// Memory of a GPU apart from the rest: what is allocated while a Scope of it lives comes from it and goes back to it,
/// so that work that is recorded and replayed finds its memory as it was, though the tensors are gone. Its memory is
/// held until the pool and all its blocks are gone.
class MemoryPool {
 public:
  MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// One at a time.
  class Scope {
   public:
    explicit Scope(const MemoryPool& pool);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
  };

 private:
  std::shared_ptr<Allocator::Pool> pool_;
};

}  // namespace tidepool
