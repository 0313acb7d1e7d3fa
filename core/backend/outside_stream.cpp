#include "core/backend/outside_stream.h"

#include "core/cuda/runtime_api.h"

namespace tidepool {

std::unique_lock<std::recursive_mutex> between_outside_work() {
  static auto* const mutex = new std::recursive_mutex;  // memory is given back while a process ends, too
  return std::unique_lock(*mutex);
}

void in_order_of(Device device, void* stream, const std::function<void()>& work) {
  if (device != kCuda) return work();
  const auto alone = between_outside_work();
  cuda::in_order_of(stream, work);
}

}  // namespace tidepool
