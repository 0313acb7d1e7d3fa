// Batches on their way to a device: while it computes with one, the next is copied.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace tidepool {

class Upload {
 public:
  /// How a device's backend does it.
  class Implementation {
   public:
    virtual ~Implementation() = default;
    virtual std::vector<Tensor> operator()(std::span<const Tensor> batch) = 0;
  };

  explicit Upload(Device device);

  /// The batch's tensors on the device; on the CPU they themselves. Those of the call before the last are written
  /// again, unless somebody holds them.
  std::vector<Tensor> operator()(std::span<const Tensor> batch);

 private:
  std::unique_ptr<Implementation> implementation_;  // null: the CPU's
};

}  // namespace tidepool
