// What `tidepool doctor` says of drivers, cards and libraries that do not fit together.
#include "tools/cuda_fit.h"

#include <gtest/gtest.h>

namespace tidepool {
namespace {

std::vector<std::string> misfits(const std::string& driver, const std::string& capability,
                                 const cuda::LibraryVersions& libraries) {
  const CudaDriver d{.found = true, .version = driver, .problem = "", .devices = {{"Fake H1", 1 << 30, capability}}};
  std::vector<std::string> found;
  for (const CudaMisfit& m : find_cuda_misfits(d, libraries)) found.push_back(m.what + " | " + m.fix);
  return found;
}

using Lines = std::vector<std::string>;

TEST(CudaFit, WhatFitsIsNoProblem) {
  EXPECT_EQ(misfits("13.1", "9.0", {"13.0", "9.19.0", "13.1.0"}), Lines{});
  EXPECT_EQ(misfits("12.2", "8.0", {"12.4", "9.1.0", "12.4.5"}), Lines{});  // a driver serves its major version
  EXPECT_EQ(misfits("13.0", "12.0", {"13.0", "9.7.0", "13.0.0"}), Lines{});
}

TEST(CudaFit, WhatDoesNotIsSaidWithACommand) {
  EXPECT_EQ(
      misfits("12.4", "9.0", {"13.0", "9.19.0", "13.1.0"}),
      Lines{"the driver serves CUDA up to 12.4, this build has 13.0 | apt-get install --only-upgrade nvidia-driver"});
  EXPECT_EQ(misfits("13.0", "7.5", {"13.0", "9.19.0", "13.1.0"}),
            Lines{"Fake H1 has compute capability 7.5; the kernels need 8.0 | tidepool train --device cpu"});
  EXPECT_EQ(misfits("13.0", "12.0", {"13.0", "9.6.1", "13.1.0"}),
            Lines{"cuDNN 9.6.1 does not know Fake H1 (compute capability 12.0); 9.7 does | apt-get install "
                  "cudnn9-cuda-13"});
  EXPECT_EQ(
      misfits("12.8", "9.0",
              {.runtime = "12.6", .cudnn = "", .cublaslt = "", .cudnn_problem = "gone", .cublaslt_problem = "lost"}),
      (Lines{"convolutions on cuda need cuDNN: gone | apt-get install cudnn9-cuda-12",
             "matrix products on cuda need cublasLt: lost | apt-get install libcublas-12-6"}));
}

}  // namespace
}  // namespace tidepool
