// What a library prepares for a case (a primitive, a plan), kept by what it is for. DynOPool changes map sizes all the
// time: a shape that comes back costs a look-up.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "core/error.h"

namespace tidepool {

/// What a plan is looked up by: numbers, added in one order by each maker of keys.
class PlanKey {
 public:
  void add(int64_t word) {
    if (count_ == words_.size()) throw Failure("plan cache: a key of more than {} words", words_.size());
    words_[count_++] = word;
  }
  template <class T>
  void add_enum(T value) {
    add(static_cast<int64_t>(value));
  }
  bool operator==(const PlanKey&) const = default;

  struct Hash {
    size_t operator()(const PlanKey& k) const {
      uint64_t h = 0xcbf29ce484222325u;
      for (size_t i = 0; i < k.count_; ++i)
        h = (h ^ static_cast<uint64_t>(k.words_[i])) * 0x9E3779B97F4A7C15u, h ^= h >> 29;
      return static_cast<size_t>(h);
    }
  };

 private:
  std::array<int64_t, 40> words_{};
  size_t count_ = 0;
};

/// A bounded cache, the least recently used plan going first. Thread-safe.
template <class Plan>
class PlanCache {
 public:
  explicit PlanCache(size_t most = 1024) : most_(most) {}

  /// The plan of the key; make() gives it, as std::shared_ptr<Plan>, the first time. What make throws passes through,
  /// and nothing is kept.
  template <class Make>
  std::shared_ptr<Plan> get(const PlanKey& key, const Make& make) {
    const std::lock_guard lock(mutex_);
    if (const auto it = index_.find(key); it != index_.end()) {
      order_.splice(order_.begin(), order_, it->second);
      return it->second->second;
    }
    std::shared_ptr<Plan> plan = make();
    ++made_;
    order_.emplace_front(key, plan);
    index_.emplace(key, order_.begin());
    if (order_.size() > most_) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    return plan;
  }
  void clear() {
    const std::lock_guard lock(mutex_);
    index_.clear();
    order_.clear();
  }
  int64_t size() const {
    const std::lock_guard lock(mutex_);
    return static_cast<int64_t>(order_.size());
  }
  int64_t made() const {
    const std::lock_guard lock(mutex_);
    return made_;
  }

 private:
  using Order = std::list<std::pair<PlanKey, std::shared_ptr<Plan>>>;

  const size_t most_;
  mutable std::mutex mutex_;
  Order order_;
  std::unordered_map<PlanKey, typename Order::iterator, PlanKey::Hash> index_;
  int64_t made_ = 0;
};

}  // namespace tidepool
