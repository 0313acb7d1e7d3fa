// tidepool bench data: how fast batches are made.
#pragma once
#include "tools/command.h"

namespace tidepool {

/// The whole command; it returns the exit status.
int bench_data(const Call& call);

}  // namespace tidepool
