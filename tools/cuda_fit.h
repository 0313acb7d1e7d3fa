// What of a CUDA driver, its cards and the libraries of a build does not fit together.
#pragma once
#include <string>
#include <vector>

#include "core/cuda/library_versions.h"
#include "tools/cuda_driver.h"

namespace tidepool {

struct CudaMisfit {
  std::string what, fix;  ///< fix: a command
};
/// Of a build with CUDA, on a machine with a card.
std::vector<CudaMisfit> find_cuda_misfits(const CudaDriver& driver, const cuda::LibraryVersions& libraries);

}  // namespace tidepool
