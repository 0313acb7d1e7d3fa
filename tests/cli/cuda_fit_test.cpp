// What `tidepool doctor` says of drivers, cards and libraries that do not fit together.
#include "tools/cuda_fit.h"

#include <gtest/gtest.h>

namespace tidepool {
namespace {

std::vector<std::string> misfits(const std::string& driver, const std::string& capability,
                                 const cuda::LibraryVersions& libraries, const std::string& kernels = "80") {
  const CudaDriver d{.found = true, .version = driver, .problem = "", .devices = {{"Fake H1", 1 << 30, capability}}};
  std::vector<std::string> found;
  for (const CudaMisfit& m : find_cuda_misfits(d, libraries, kernels)) found.push_back(m.what + " | " + m.fix);
  return found;
}

using Lines = std::vector<std::string>;

TEST(CudaFit, WhatFitsIsNoProblem) {
  EXPECT_EQ(misfits("13.1", "9.0", {"13.0", "9.19.0", "13.1.0"}), Lines{});
  EXPECT_EQ(misfits("12.2", "8.0", {"12.4", "9.1.0", "12.4.5"}), Lines{});  // a driver serves its major version
  EXPECT_EQ(misfits("12.2", "8.6", {"12.4", "9.1.0", "12.4.5"}, "80-real"), Lines{});  // and cards of a later minor one
  EXPECT_EQ(misfits("12.4", "9.0", {"12.4", "9.1.0", "12.4.5"}, "80-virtual"), Lines{});
  EXPECT_EQ(misfits("13.0", "12.0", {"13.0", "9.7.0", "13.0.0"}), Lines{});
}

TEST(CudaFit, WhatDoesNotIsSaidWithACommand) {
  EXPECT_EQ(
      misfits("12.4", "9.0", {"13.0", "9.19.0", "13.1.0"}),
      Lines{"the driver serves CUDA up to 12.4, this build has 13.0 | apt-get install --only-upgrade nvidia-driver"});
  EXPECT_EQ(misfits("13.0", "7.5", {"13.0", "9.19.0", "13.1.0"}),
            Lines{"Fake H1 has compute capability 7.5; the kernels need 8.0 | tidepool train --device cpu"});
  const std::string build = " | ./tools/build -DTIDEPOOL_CUDA=ON -DTIDEPOOL_CUDA_ARCHITECTURES=";
  for (const char* kernels : {"80-virtual", "80"})  // no machine code for this card
    EXPECT_EQ(
        misfits("12.2", "9.0", {"12.4", "9.1.0", "12.4.5"}, kernels),
        Lines{"this build's kernels are PTX of CUDA 12.4, the driver compiles that of 12.2 and older" + build + "90"});
  for (const char* kernels : {"90-real", "80-real", "90"})
    EXPECT_EQ(misfits("12.4", kernels == std::string("80-real") ? "9.0" : "8.0", {"12.4", "9.1.0", "12.4.5"}, kernels),
              Lines{fmt::format("Fake H1 has compute capability {}; this build has kernels for {}{}{}",
                                kernels == std::string("80-real") ? "9.0" : "8.0", kernels, build,
                                kernels == std::string("80-real") ? "90" : "80")});
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
