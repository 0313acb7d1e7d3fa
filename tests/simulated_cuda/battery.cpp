// The batteries of tests/layers/ run on the device in this program.
#include "tests/layers/battery.h"

namespace tidepool::testing {
namespace {

[[maybe_unused]] const bool kOnTheDevice = [] {
  battery_device = kCuda;
  return true;
}();

}  // namespace
}  // namespace tidepool::testing
