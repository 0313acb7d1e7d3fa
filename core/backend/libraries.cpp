#include "core/backend/libraries.h"

#include <fmt/format.h>

#include "core/cuda/library_versions.h"

namespace tidepool {

std::string network_problem(Device device, DType dtype, const cuda::LibraryVersions& libraries) {
  if (device == kCpu || dtype == DType::f64) return {};  // f64, for comparisons, has kernels of our own
  const bool convolutions = !libraries.cudnn_problem.empty();
  const std::string& why = convolutions ? libraries.cudnn_problem : libraries.cublaslt_problem;
  if (why.empty()) return {};
  return fmt::format("{} on cuda: {}; tidepool doctor says what to install, and --device cpu does without",
                     convolutions ? "convolutions" : "matrix products", why);
}

std::string network_problem(Device device, DType dtype) {
  if (device == kCpu) return {};  // asking for their versions loads the libraries
  return network_problem(device, dtype, cuda::library_versions());
}

}  // namespace tidepool
