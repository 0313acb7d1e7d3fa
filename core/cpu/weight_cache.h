// Weights in the form that a kernel wants them, kept while the weights stay as they are.
#pragma once
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <utility>

#include "core/backend/caches.h"
#include "core/tensor.h"

namespace tidepool {

/// Transformed weights by (storage, address in it, layout), bounded: the least recently used go first. An entry is made
/// again when the storage's version has changed.
template <class Layout>
class WeightCache {
 public:
  /// From when on a version's transformed weights are kept.
  enum class From {
    first_use,
    second_use,  ///< those of a training step, which are used once, then cost no memory
  };
  WeightCache(From from, size_t most_bytes) : from_(from), most_bytes_(most_bytes) {}

  /// w transformed; undefined when it is not kept yet. make(to) transforms it into the tensor `to`, which it allocates
  /// when that is undefined.
  template <class Make>
  Tensor get(const Tensor& w, const Layout& layout, const Make& make) {
    const std::lock_guard lock(mutex_);
    const uint64_t id = w.storage().id, version = w.version();
    auto it = entries_.begin();
    while (it != entries_.end() && !(it->storage == id && it->address == w.raw() && it->layout == layout)) ++it;
    const bool again = it != entries_.end() && it->version == version;
    if (it != entries_.end())
      entries_.splice(entries_.begin(), entries_, it);
    else
      entries_.push_front({id, w.raw(), layout, version, {}});
    Entry& entry = entries_.front();
    if (again && entry.data) return entry.data;
    Tensor data = take(entry);
    entry.version = version;
    if (from_ == From::first_use || again) {
      make(data);
      entry.data = data;
      bytes_ += data.storage().bytes;
    }
    while (entries_.size() > kMostEntries || (bytes_ > most_bytes_ && entries_.size() > 1)) {
      take(entries_.back());
      entries_.pop_back();
    }
    return entry.data;
  }
  void clear() {
    const std::lock_guard lock(mutex_);
    entries_.clear();
    bytes_ = 0;
  }
  void add_to(CacheStats& s) {
    const std::lock_guard lock(mutex_);
    for (const Entry& e : entries_) s.weights += e.data ? 1 : 0;
    s.weight_bytes += static_cast<int64_t>(bytes_);
  }

 private:
  static constexpr size_t kMostEntries = 512;
  struct Entry {
    uint64_t storage;
    const void* address;
    Layout layout;
    uint64_t version;
    Tensor data;
  };

  Tensor take(Entry& entry) {
    if (entry.data) bytes_ -= entry.data.storage().bytes;
    return std::exchange(entry.data, {});
  }

  From from_;
  size_t most_bytes_;
  std::mutex mutex_;
  std::list<Entry> entries_;
  size_t bytes_ = 0;
};

}  // namespace tidepool
