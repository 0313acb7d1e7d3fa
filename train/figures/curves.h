// `tidepool plot`: what training was like, over epochs or steps.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "train/figures/chart.h"
#include "train/figures/run_record.h"

namespace tidepool::figures {

struct CurveOptions {
  std::string title = {};
  std::vector<std::string> panels = {};  ///< of curve_panels(); empty: all that the runs have something for
  bool steps = false;                    ///< the x axis counts steps, else epochs where all runs say how long one is
  size_t columns = 2;
};

/// "loss", "accuracy", "lr", "penalty", "shapes", "sizes".
const std::vector<std::string>& curve_panels();

/// One curve per row: the mean over its seeds, and a band of one standard deviation around it. Throws Error where a run
/// has no step logged, or a panel was asked for that no run has anything for.
Drawing draw_curves(std::span<const RunGroup> groups, const CurveOptions& options = {});

/// The path of one shape parameter or size ("pool1.alpha", "pool1.size") in every run of the rows: a line per run,
/// solid where it is of the height, dashed of the width.
Panel shape_panel(std::span<const RunGroup> groups, const std::string& name, bool steps);

/// Whether x can count epochs: every run says how many steps one has.
bool counts_epochs(std::span<const RunGroup> groups);

}  // namespace tidepool::figures
