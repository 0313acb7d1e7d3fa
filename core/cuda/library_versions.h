// What the GPU backend stands on, for reports; core/cuda/absent.cpp answers in a build without CUDA.
#pragma once
#include <string>

namespace tidepool::cuda {

/// "" where there is none.
struct LibraryVersions {
  std::string runtime;                                    ///< CUDA's, of the build: "13.0"
  std::string cudnn, cublaslt;                            ///< at run time: "9.19.0"
  std::string cudnn_problem = {}, cublaslt_problem = {};  ///< why not
};
LibraryVersions library_versions();

}  // namespace tidepool::cuda
