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
/// `architectures`: of its kernels, as CMake names them, "80-virtual,90-real".
std::vector<CudaMisfit> find_cuda_misfits(const CudaDriver& driver, const cuda::LibraryVersions& libraries,
                                          const std::string& architectures);

}  // namespace tidepool
