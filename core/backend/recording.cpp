#include "core/backend/recording.h"

#include "core/backend/libraries.h"
#include "core/cuda/recording.h"

namespace tidepool {

bool can_record(Device device) {
  return device == kCuda && library_settings().graph;
}

Recording::Recording(const MemoryPool& pool, const std::function<void()>& work) {
  const MemoryPool::Scope scope(pool);
  implementation_ = cuda::record(work);
}

}  // namespace tidepool
