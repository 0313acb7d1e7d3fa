#include "core/backend/upload.h"

#include "core/cuda/upload.h"

namespace tidepool {

Upload::Upload(Device device) : implementation_(device.kind == DeviceKind::cuda ? cuda::make_upload() : nullptr) {}

std::vector<Tensor> Upload::operator()(std::span<const Tensor> batch) {
  if (implementation_) return (*implementation_)(batch);
  return {batch.begin(), batch.end()};
}

}  // namespace tidepool
