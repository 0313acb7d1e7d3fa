// tidepool bench step and bench conv: what a network's training step costs, and its convolutions alone.
#pragma once
#include <vector>

#include "tools/command.h"

namespace tidepool {

/// Their options, but for --json.
std::vector<Option> bench_step_options();
/// The whole commands; they return the exit status.
int bench_step(const Call& call);
int bench_conv(const Call& call);

}  // namespace tidepool
