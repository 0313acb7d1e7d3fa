#include "core/backend/outside_stream.h"

#include "core/cuda/runtime_api.h"

namespace tidepool {

void in_order_of(Device device, void* stream, const std::function<void()>& work) {
  if (device == kCuda)
    cuda::in_order_of(stream, work);
  else
    work();
}

}  // namespace tidepool
