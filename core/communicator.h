// Ranks: copies of a training run, each of which computes a part of every batch, on a device of its own. They sum their
// gradients through a communicator and stay equal, bit for bit.
#pragma once
#include <cstdint>
#include <span>

#include "core/tensor.h"

namespace tidepool {

/// One thread of a rank calls the members; all ranks make the same calls in the same order, with tensors of the same
/// shapes and types. They throw Failure when another rank is gone.
class Communicator {
 public:
  virtual ~Communicator() = default;
  /// From 0 to ranks() - 1.
  virtual int64_t rank() const = 0;
  virtual int64_t ranks() const = 0;
  /// Begins to replace each element by its sum over the ranks, which is the same bits in each of them. `tensors` are
  /// dense, of floating types and of one device; nobody reads or writes them before wait().
  virtual void all_reduce(std::span<const Tensor> tensors) = 0;
  /// What follows, on the host and in the compute stream of a GPU, finds the sums of all that was begun.
  virtual void wait() = 0;
};

}  // namespace tidepool
