// The GPU's tables: what needs no kernel.
#pragma once
#include "core/backend/copy.h"
#include "core/backend/reduction.h"

namespace tidepool::cuda {

extern const CopyTable kCopy;
extern const ReductionTable kReduction;

}  // namespace tidepool::cuda
