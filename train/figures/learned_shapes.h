// `tidepool figure 4`: the maps of every layer drawn to scale, and the paths of the shape parameters.
#pragma once
#include <span>

#include "train/figures/chart.h"
#include "train/figures/run_record.h"

namespace tidepool::figures {

struct LearnedShapesOptions {
  std::string title = {};
  bool paths = true;  ///< with the path of every shape parameter below
};

/// A block for each network; in it a line for each row of runs, those of the same data side by side, human-designed
/// shapes first, then Shape Adaptor, DiffStride and DynOPool, and a column for each resize slot: the map after it to
/// scale, its mean over the seeds filled, each seed's outline, and dashed the human-designed one. Throws Error where no
/// run says any shape.
Drawing draw_learned_shapes(std::span<const RunGroup> groups, const LearnedShapesOptions& options = {});

}  // namespace tidepool::figures
