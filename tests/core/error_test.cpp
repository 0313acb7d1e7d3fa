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

TEST(Error, DidYouMean) {
  EXPECT_EQ(did_you_mean("kernle", kNames), " (did you mean 'kernel'?)");
  EXPECT_EQ(did_you_mean("xyzzyxyzzy", kNames), "");
}

TEST(Error, FormatsAndKeepsBraces) {
  EXPECT_STREQ(Error("{} of {}", 1, "2").what(), "1 of 2");
  EXPECT_STREQ(Error(std::string("{as it is}")).what(), "{as it is}");
  EXPECT_STREQ(Failure("disk {}", "full").what(), "disk full");
}

}  // namespace
}  // namespace tidepool
