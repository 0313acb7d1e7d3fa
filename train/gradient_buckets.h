// The gradients of all ranks, summed while the backward pass goes on. After PyTorch's DistributedDataParallel (Li et
// al., VLDB 2020): parameters are grouped in the reverse of their order, and a bucket is sent once its last gradient is
// there.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "core/communicator.h"
#include "layers/parameter.h"

namespace tidepool {

class GradientBuckets {
 public:
  static constexpr size_t kBytes = size_t{25} << 20;  ///< of a bucket, at most, but for a single larger gradient

  /// `ranks` outlives it. Parameters that want no gradient are left out.
  GradientBuckets(const std::vector<Parameter>& parameters, Communicator& ranks, size_t bytes = kBytes);

  /// Forgets what became ready in a backward pass that was not finished.
  void begin();
  /// The backward pass adds nothing more to this leaf's gradient. A leaf of no bucket is nobody's business.
  void ready(const Tensor& leaf);
  /// After the backward pass: each gradient is its sum over the ranks. Parameters that no rank has a gradient of keep
  /// none.
  void finish();

  size_t buckets() const { return buckets_.size(); }

 private:
  struct Bucket {
    std::vector<Tensor> leaves;
    size_t missing = 0;
  };
  void send(const Bucket& bucket);

  Communicator& ranks_;
  std::vector<Bucket> buckets_;
  std::map<uint64_t, size_t> bucket_of_;  // by the storage of a leaf
  size_t sent_ = 0;                       // in their order, which is then the same in all ranks
};

}  // namespace tidepool
