// Work that a GPU is given once and then repeats at one call: a CUDA graph.
#pragma once
#include <functional>
#include <memory>

#include "core/allocator.h"

namespace tidepool {

/// On a GPU, unless library_settings().graph says no.
bool can_record(Device device);

class Recording {
 public:
  /// How a device's backend does it.
  class Implementation {
   public:
    virtual ~Implementation() = default;
    virtual void replay() = 0;
  };

  /// Records what `work` has the GPU do; nothing of it is done yet. Tensors that it makes are of `pool`, and stand
  /// where they are in every replay, also those that are gone by then. Throws what `work` throws, and Failure where it
  /// waits for the GPU or copies between it and the host.
  Recording(const MemoryPool& pool, const std::function<void()>& work);

  /// Has it done again, behind what the GPU has to do already. Nothing notices that tensors are written: their versions
  /// are the caller's to count.
  void replay() const { implementation_->replay(); }

 private:
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace tidepool
