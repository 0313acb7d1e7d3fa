// Reads the committed reference tensors (tests/golden/README.md says how they were made).
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "core/safetensors.h"

namespace tidepool {

inline SafetensorsFile read_golden(const std::string& name) {
  return read_safetensors(std::string(TIDEPOOL_SOURCE_DIR) + "/tests/golden/" + name);
}

/// Largest error over the largest magnitude of what was expected.
inline double relative_error(const Tensor& got, const Tensor& expected) {
  EXPECT_EQ(got.shape(), expected.shape());
  const auto g = got.values(), e = expected.values();
  double worst = 0, largest = 0;
  for (size_t i = 0; i < e.size(); ++i) {
    worst = std::isnan(g[i]) ? INFINITY : std::max(worst, std::abs(g[i] - e[i]));
    largest = std::max(largest, std::abs(e[i]));
  }
  return largest > 0 ? worst / largest : worst;
}

}  // namespace tidepool
