// A libcuda.so.1 for tests of `tidepool doctor`: $FAKE_CUDA is "none" (a driver without a device) or "one".
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {
constexpr int kNoDevice = 100;
}

extern "C" {
int cuInit(unsigned) {
  const char* const answer = std::getenv("FAKE_CUDA");
  return answer && std::strcmp(answer, "one") == 0 ? 0 : kNoDevice;
}
int cuDriverGetVersion(int* version) {
  *version = 12040;
  return 0;
}
int cuDeviceGetCount(int* count) {
  *count = 1;
  return 0;
}
int cuDeviceGet(int* device, int index) {
  *device = index;
  return 0;
}
int cuDeviceGetName(char* name, int size, int) {
  std::snprintf(name, static_cast<size_t>(size), "Fake H1");
  return 0;
}
int cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = size_t{1} << 33;
  return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
  *value = attribute == 75 ? 9 : 1;
  return 0;
}
int cuGetErrorString(int, const char** text) {
  *text = "no device is detected";
  return 0;
}
}
