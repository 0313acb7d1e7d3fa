// Drawings as PNG, where the program was built with cairo.
#pragma once
#include <string>

#include "train/figures/drawing.h"

namespace tidepool::figures {

/// Whether this build can.
bool has_raster();

/// The bytes of a PNG file on white, `scale` pixels per CSS pixel. Throws Error where this build cannot.
std::string png(const Drawing& drawing, double scale = 2);

}  // namespace tidepool::figures
