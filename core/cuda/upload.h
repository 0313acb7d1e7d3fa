#pragma once
#include <memory>

#include "core/backend/upload.h"

namespace tidepool::cuda {

/// Two batches in flight, through pinned buffers and the copy stream.
std::unique_ptr<Upload::Implementation> make_upload();

}  // namespace tidepool::cuda
