// What a run asks of its device's libraries. Of the process: set before the first step, and not by operators.
#pragma once

namespace tidepool {

struct LibrarySettings {
  /// Products of f32 may round their factors to TF32 (10 bits of mantissa), for the GPU's tensor cores.
  bool tf32 = false;
  /// Convolutions on the GPU: time what cuDNN proposes for a new shape, instead of taking its first proposal.
  bool measure = false;
};

inline LibrarySettings& library_settings() {
  static LibrarySettings settings;
  return settings;
}

}  // namespace tidepool
