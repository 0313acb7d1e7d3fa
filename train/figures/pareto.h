// `tidepool figure pareto`: accuracy against GMACs.
#pragma once
#include <span>

#include "train/figures/chart.h"
#include "train/figures/run_record.h"

namespace tidepool::figures {

/// A panel for each data set, variant, number of images and epochs, and network, so that no scale is shown beside
/// another: a point per row with the 95% intervals (Student's t) of its means over the seeds, rows with the same
/// operators joined. Runs without a result are left out. Throws Error where no run has one.
Drawing draw_pareto(std::span<const RunGroup> groups, const std::string& title = {});

}  // namespace tidepool::figures
