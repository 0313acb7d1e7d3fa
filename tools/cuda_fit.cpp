#include "tools/cuda_fit.h"

#include <fmt/format.h>

#include <cstdio>

namespace tidepool {
namespace {

struct Version {
  int major = 0, minor = 0;

  explicit Version(const std::string& text) { std::sscanf(text.c_str(), "%d.%d", &major, &minor); }
  bool older_than(int other_major, int other_minor) const {
    return major < other_major || (major == other_major && minor < other_minor);
  }
};

}  // namespace

std::vector<CudaMisfit> find_cuda_misfits(const CudaDriver& driver, const cuda::LibraryVersions& libraries) {
  std::vector<CudaMisfit> found;
  const Version runtime(libraries.runtime), supported(driver.version);
  // A driver serves every minor version of its major one.
  if (supported.major > 0 && supported.major < runtime.major)
    found.push_back(
        {fmt::format("the driver serves CUDA up to {}, this build has {}", driver.version, libraries.runtime),
         "apt-get install --only-upgrade nvidia-driver"});
  for (const CudaDevice& device : driver.devices)
    if (Version(device.compute_capability).older_than(8, 0))
      found.push_back(
          {fmt::format("{} has compute capability {}; the kernels need 8.0", device.model, device.compute_capability),
           "tidepool train --device cpu"});
  const std::string install_cudnn = fmt::format("apt-get install cudnn9-cuda-{}", runtime.major);
  if (!libraries.cudnn_problem.empty()) {
    found.push_back({"convolutions on cuda need cuDNN: " + libraries.cudnn_problem, install_cudnn});
  } else {
    for (const CudaDevice& device : driver.devices)
      if (!Version(device.compute_capability).older_than(10, 0) && Version(libraries.cudnn).older_than(9, 7)) {
        found.push_back({fmt::format("cuDNN {} does not know {} (compute capability {}); 9.7 does", libraries.cudnn,
                                     device.model, device.compute_capability),
                         install_cudnn});
        break;
      }
  }
  if (!libraries.cublaslt_problem.empty())
    found.push_back({"matrix products on cuda need cublasLt: " + libraries.cublaslt_problem,
                     fmt::format("apt-get install libcublas-{}-{}", runtime.major, runtime.minor)});
  return found;
}

}  // namespace tidepool
