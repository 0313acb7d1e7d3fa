// tidepool bench ops: what every pooling operator costs.
#pragma once
#include <vector>

#include "tools/command.h"

namespace tidepool {

/// Its options, but for --json.
std::vector<Option> bench_ops_options();
/// The whole command; returns the exit status.
int bench_ops(const Call& call);

}  // namespace tidepool
