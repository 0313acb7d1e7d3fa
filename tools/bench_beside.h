// tidepool bench step --beside: how training and evaluation go beside a second process that trains.
#pragma once
#include "tools/command.h"

namespace tidepool {

/// Measures training steps and evaluation alone and beside a copy of this process, turn about, and prints both.
int bench_beside(const Call& call);
/// What that copy does: training steps without end, a byte on stdout after each, until the reader is gone.
int bench_copy(const Call& call);

}  // namespace tidepool
