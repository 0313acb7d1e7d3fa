// A part of a data set, and how the validation part is drawn.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "data/dataset.h"

namespace tidepool {

/// The images `indices` of `whole`, in this order.
std::unique_ptr<Dataset> subset(std::shared_ptr<const Dataset> whole, std::vector<int64_t> indices);

/// The numbers 0 to size - 1 in two parts, ascending: `validation` of them drawn by `seed`, and the rest.
struct ValidationSplit {
  std::vector<int64_t> train, validation;
};
/// Throws Error naming data.val_images unless it is 0 to size - 1.
ValidationSplit split_validation(int64_t size, int64_t validation, uint64_t seed);

}  // namespace tidepool
