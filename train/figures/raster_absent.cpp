#include "core/error.h"
#include "train/figures/raster.h"

namespace tidepool::figures {

bool has_raster() {
  return false;
}

std::string png(const Drawing&, double) {
  throw Error("figures as PNG want cairo, which this build has not: apt-get install libcairo2-dev && ./tools/build");
}

}  // namespace tidepool::figures
