#include "tools/cuda_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace tidepool {
namespace {

struct Version {
  int major = 0, minor = 0;

  explicit Version(const std::string& text) { std::sscanf(text.c_str(), "%d.%d", &major, &minor); }
  bool older_than(int other_major, int other_minor) const {
    return major < other_major || (major == other_major && minor < other_minor);
  }
};

// What of a build's kernels a card can run.
struct Kernels {
  bool machine_code = false;  // of this major version, not newer
  bool ptx = false;           // which the driver compiles
};

Kernels kernels_for(const std::string& architectures, const Version& card) {
  Kernels found;
  for (size_t begin = 0; begin < architectures.size();) {
    const size_t end = std::min(architectures.find(',', begin), architectures.size());
    const std::string one = architectures.substr(begin, end - begin);
    begin = end + 1;
    const int number = std::atoi(one.c_str());
    if (number == 0 || number > 10 * card.major + card.minor) continue;
    const bool real = one.find("-virtual") == std::string::npos, ptx = one.find("-real") == std::string::npos;
    found.machine_code = found.machine_code || (real && number / 10 == card.major);
    found.ptx = found.ptx || ptx;
  }
  return found;
}

}  // namespace

std::vector<CudaMisfit> find_cuda_misfits(const CudaDriver& driver, const cuda::LibraryVersions& libraries,
                                          const std::string& architectures) {
  std::vector<CudaMisfit> found;
  const Version runtime(libraries.runtime), supported(driver.version);
  // A driver serves every minor version of its major one, but compiles no PTX that is newer than itself.
  if (supported.major > 0 && supported.major < runtime.major)
    found.push_back(
        {fmt::format("the driver serves CUDA up to {}, this build has {}", driver.version, libraries.runtime),
         "apt-get install --only-upgrade nvidia-driver"});
  for (const CudaDevice& device : driver.devices) {
    const Version card(device.compute_capability);
    if (card.older_than(8, 0)) {
      found.push_back(
          {fmt::format("{} has compute capability {}; the kernels need 8.0", device.model, device.compute_capability),
           "tidepool train --device cpu"});
      continue;
    }
    const Kernels kernels = kernels_for(architectures, card);
    const std::string build =
        fmt::format("./tools/build -DTIDEPOOL_CUDA=ON -DTIDEPOOL_CUDA_ARCHITECTURES={}{}", card.major, card.minor);
    if (!kernels.machine_code && !kernels.ptx)
      found.push_back({fmt::format("{} has compute capability {}; this build has kernels for {}", device.model,
                                   device.compute_capability, architectures),
                       build});
    else if (!kernels.machine_code && supported.major == runtime.major &&
             supported.older_than(runtime.major, runtime.minor))
      found.push_back({fmt::format("this build's kernels are PTX of CUDA {}, the driver compiles that of {} and older",
                                   libraries.runtime, driver.version),
                       build});
  }
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
