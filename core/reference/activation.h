// Activations and their slopes in f64.
#pragma once
#include "core/backend/activation.h"

namespace tidepool::reference {

/// NaN stays.
double act_value(Act act, double v);
/// d act / d v, at the kinks as layers/activation.h says.
double act_slope(Act act, double v);

}  // namespace tidepool::reference
