// A device's libraries: what a run asks of them, and whether they are there.
#pragma once
#include <string>

#include "core/device.h"
#include "core/dtype.h"

namespace tidepool {

namespace cuda {
struct LibraryVersions;
}

/// Of the process: set before the first step, and not by operators.
struct LibrarySettings {
  /// Products of f32 may round their factors to TF32 (10 bits of mantissa), for the GPU's tensor cores.
  bool tf32 = false;
  /// Convolutions on the GPU: time what cuDNN proposes for a new shape, instead of taking its first proposal.
  bool measure = false;
  /// Steps on the GPU whose shapes recur are recorded and replayed.
  bool graph = true;
};

inline LibrarySettings& library_settings() {
  static LibrarySettings settings;
  return settings;
}

/// Why no network of that type can compute there, whatever its layers; "" where one can: a GPU needs its libraries.
std::string network_problem(Device device, DType dtype);
std::string network_problem(Device device, DType dtype, const cuda::LibraryVersions& libraries);

}  // namespace tidepool
