// The GPU's libraries on the simulated device alone: what is counted there, and what fails there on request.
#include "core/backend/libraries.h"
#include "core/cuda/cudnn.h"
#include "tests/cuda/conv_on_device.h"
#include "tests/simulated_cuda/control.h"

namespace tidepool::testing {
namespace {

TEST(LibrariesOnCuda, MeasuringKeepsOneOfTheChoices) {
  const ConvCase c{"3x3", {2, 8, 9, 6}, {16, 8, 3, 3}, {.padding = {1, 1}}};
  const Results expected = convolve(c, DType::f32, DType::f32, MemoryFormat::channels_last, kCuda);
  library_settings().measure = true;
  simulated::reset_counts();
  const Results first = convolve(c, DType::f32, DType::f32, MemoryFormat::channels_last, kCuda);
  const int64_t measured = simulated::counts().executions;
  simulated::reset_counts();
  const Results later = convolve(c, DType::f32, DType::f32, MemoryFormat::channels_last, kCuda);
  library_settings().measure = false;
  EXPECT_GT(measured, 3 * 4);
  EXPECT_EQ(simulated::counts().executions, 3);
  EXPECT_EQ(error(values_of(first.y), values_of(expected.y)), 0);
  EXPECT_EQ(error(values_of(later.dw), values_of(expected.dw)), 0);
}

TEST(LibrariesOnCuda, WhatFailsSaysItsCallAndShapes) {
  const ConvCase c{"3x3", {1, 4, 6, 5}, {4, 4, 3, 3}, {.padding = {1, 1}}};
  const Results expected = convolve(c, DType::bf16, DType::bf16, MemoryFormat::channels_last, kCuda);
  const Tensor x = normal(c.x, 1).to(DType::bf16).contiguous(MemoryFormat::channels_last).to(kCuda),
               w = normal(c.w, 2, 0.3).to(DType::bf16).to(kCuda), y = Tensor::empty(c.x, x.options());
  int failures = 0, named = 0;
  for (int64_t n = 1; n < 1000; ++n) {
    cudnn::forget_plans();
    simulated::fail_call(n);
    try {
      conv_forward(x, w, {}, c.options, y);
      simulated::fail_call(0);
      if (!simulated::has_failed()) break;
    } catch (const Failure& e) {
      ++failures;
      const std::string what = e.what();
      named += what.find("conv of 1x4x6x5 with weights 4x4x3x3") != std::string::npos &&
               what.find("cuDNN: cudnn") != std::string::npos;
    }
    simulated::fail_call(0);
    conv_forward(x, w, {}, c.options, y);
    EXPECT_EQ(error(values_of(y), values_of(expected.y)), 0) << "after the failure of call " << n;
  }
  EXPECT_GT(failures, 20);
  EXPECT_GT(named, failures - 10);  // the others are the runtime's
}

}  // namespace
}  // namespace tidepool::testing
