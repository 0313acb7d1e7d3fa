#include "train/gradient_buckets.h"

namespace tidepool {

GradientBuckets::GradientBuckets(const std::vector<Parameter>& parameters, Communicator& ranks, size_t bytes)
    : ranks_(ranks) {
  size_t held = 0;
  for (auto p = parameters.rbegin(); p != parameters.rend(); ++p) {
    const Tensor& leaf = p->value;
    if (!leaf.requires_grad()) continue;
    const size_t own = static_cast<size_t>(leaf.numel()) * size_of(leaf.dtype());
    if (buckets_.empty() || held + own > bytes) {
      buckets_.emplace_back();
      held = 0;
    }
    held += own;
    buckets_.back().leaves.push_back(leaf);
    bucket_of_[leaf.storage().id] = buckets_.size() - 1;
  }
  begin();
}

void GradientBuckets::begin() {
  sent_ = 0;
  for (Bucket& bucket : buckets_) bucket.missing = bucket.leaves.size();
}

void GradientBuckets::ready(const Tensor& leaf) {
  const auto found = bucket_of_.find(leaf.storage().id);
  if (found == bucket_of_.end()) return;
  --buckets_[found->second].missing;
  while (sent_ < buckets_.size() && buckets_[sent_].missing == 0) send(buckets_[sent_++]);
}

void GradientBuckets::finish() {
  while (sent_ < buckets_.size()) send(buckets_[sent_++]);
  ranks_.wait();
  begin();
}

void GradientBuckets::send(const Bucket& bucket) {
  std::vector<Tensor> gradients;
  for (const Tensor& leaf : bucket.leaves) {
    if (!leaf.grad()) continue;
    // It is summed in place: memory that another tensor looks at, or that has gaps, is copied first.
    if (!leaf.grad().is_sole_owner() || !leaf.grad().is_contiguous(leaf.grad().format()))
      leaf.set_grad(leaf.grad().clone());
    gradients.push_back(leaf.grad());
  }
  if (!gradients.empty()) ranks_.all_reduce(gradients);
}

}  // namespace tidepool
