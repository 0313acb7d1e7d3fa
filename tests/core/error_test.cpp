#include "core/error.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidepool {
namespace {

const std::vector<std::string> kNames = {"kernel", "stride", "padding", "dilation", "ceil_mode"};

TEST(Error, NearestName) {
  EXPECT_EQ(nearest_name("kernle", kNames), "kernel");
  EXPECT_EQ(nearest_name("strid", kNames), "stride");
  EXPECT_EQ(nearest_name("ceilmode", kNames), "ceil_mode");
  EXPECT_EQ(nearest_name("kernel", kNames), "kernel");
  EXPECT_EQ(nearest_name("xyzzyxyzzy", kNames), "");
  EXPECT_EQ(nearest_name("anything", {}), "");
}

TEST(Error, ShortWordsHaveShortSlips) {
  const std::vector<std::string> operators = {"avg", "dpp", "gem", "lip", "lp", "max", "s3", "spp"};
  for (const char* other : {"gpu", "cuda", "abc", "xy", "q"}) EXPECT_EQ(nearest_name(other, operators), "") << other;
  EXPECT_EQ(nearest_name("mxa", operators), "max");  // neighbours exchanged are one slip
  EXPECT_EQ(nearest_name("agv", operators), "avg");
  EXPECT_EQ(nearest_name("gme", operators), "gem");
  EXPECT_EQ(nearest_name("mac", operators), "max");
}

TEST(Error, DidYouMean) {
  EXPECT_EQ(did_you_mean("kernle", kNames), " (did you mean 'kernel'?)");
  EXPECT_EQ(did_you_mean("xyzzyxyzzy", kNames), "");
}

TEST(Error, AliasesGoBeforeDistance) {
  const std::vector<std::string> operators = {"avg", "dynopool", "max", "max_blur", "soft", "space_to_depth"};
  EXPECT_EQ(nearest_name("softpool", operators), "soft");
  EXPECT_EQ(nearest_name("SoftPool2d", operators), "soft");
  EXPECT_EQ(nearest_name("Max-Blur", operators), "max_blur");
  EXPECT_EQ(nearest_name("AvgPool3d", operators), "avg");
  EXPECT_EQ(nearest_name("PixelUnshuffle", operators), "space_to_depth");
  EXPECT_EQ(nearest_name("attention", operators), "");
  EXPECT_EQ(nearest_name("gpu", std::vector<std::string>{"auto", "cpu", "cuda"}), "cuda");
  EXPECT_EQ(nearest_name("kernel_size", kNames), "kernel");
  EXPECT_EQ(nearest_name("gpu", kNames), "");  // an alias of nothing that is here
  EXPECT_EQ(nearest_name("", kNames), "");
  EXPECT_EQ(nearest_name("--", kNames), "");
}

TEST(Error, FormatsAndKeepsBraces) {
  EXPECT_STREQ(Error("{} of {}", 1, "2").what(), "1 of 2");
  EXPECT_STREQ(Error(std::string("{as it is}")).what(), "{as it is}");
  EXPECT_STREQ(Failure("disk {}", "full").what(), "disk full");
}

}  // namespace
}  // namespace tidepool
