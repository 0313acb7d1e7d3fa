// What the CUDA driver of this machine says, asked at run time: it needs no CUDA at build time.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tidepool {

struct CudaDevice {
  std::string model;
  int64_t memory_bytes = 0;
  std::string compute_capability;  ///< "9.0"
};

struct CudaDriver {
  bool found = false;
  std::string version;  ///< newest CUDA that it supports, "12.4"; "" without a driver or when it does not say
  std::string problem;  ///< why `devices` is empty; else ""
  std::vector<CudaDevice> devices;
};

/// Loads and initialises the driver. Never throws for a missing or broken one: `problem` says it.
CudaDriver find_cuda_driver();

}  // namespace tidepool
