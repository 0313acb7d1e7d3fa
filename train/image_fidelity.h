// What a pooling operator leaves of a data set's test images.
#pragma once
#include <filesystem>

#include "core/json.h"
#include "data/fidelity.h"
#include "train/config.h"

namespace tidepool {

/// Sums over the test images of `data` as they are (no variant), pooled by the operator of that config at its start
/// values in evaluation, and enlarged again. Throws Error as the data set and the operator do.
Fidelity image_fidelity(const Json& pool, const DataConfig& data, const std::filesystem::path& root);

}  // namespace tidepool
