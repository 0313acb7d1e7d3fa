// CUDA graphs, without the runtime's header.
#pragma once
#include <functional>
#include <memory>

#include "core/backend/recording.h"

namespace tidepool::cuda {

std::unique_ptr<Recording::Implementation> record(const std::function<void()>& work);

}  // namespace tidepool::cuda
