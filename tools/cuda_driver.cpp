#include "tools/cuda_driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace tidepool {
namespace {

// The driver API's functions, by their names in the library; CUresult and CUdevice are int.
struct Api {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  int (*init)(unsigned) = find<int(unsigned)>("cuInit");
  int (*version)(int*) = find<int(int*)>("cuDriverGetVersion");
  int (*count)(int*) = find<int(int*)>("cuDeviceGetCount");
  int (*get)(int*, int) = find<int(int*, int)>("cuDeviceGet");
  int (*name)(char*, int, int) = find<int(char*, int, int)>("cuDeviceGetName");
  int (*memory)(size_t*, int) = find<int(size_t*, int)>("cuDeviceTotalMem_v2");
  int (*attribute)(int*, int, int) = find<int(int*, int, int)>("cuDeviceGetAttribute");
  int (*error)(int, const char**) = find<int(int, const char**)>("cuGetErrorString");

  template <class F>
  F* find(const char* symbol) const {
    return library ? reinterpret_cast<F*>(dlsym(library, symbol)) : nullptr;
  }
  bool complete() const { return init && version && count && get && name && memory && attribute; }

  std::string describe(const char* call, int status) const {
    const char* text = nullptr;
    if (error) error(status, &text);
    return fmt::format("{} fails with {} ({})", call, status, text ? text : "no text");
  }
};

CudaDevice describe(const Api& cuda, int index) {
  int device = 0, major = 0, minor = 0;
  char name[256] = "";
  size_t bytes = 0;
  constexpr int kMajor = 75, kMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
  if (cuda.get(&device, index) == 0) {
    cuda.name(name, sizeof name - 1, device);
    cuda.memory(&bytes, device);
    cuda.attribute(&major, kMajor, device);
    cuda.attribute(&minor, kMinor, device);
  }
  return {*name ? name : "unknown device", static_cast<int64_t>(bytes), fmt::format("{}.{}", major, minor)};
}

}  // namespace

CudaDriver find_cuda_driver() {
  const Api cuda;  // stays loaded: a driver that was initialised must not be unloaded
  CudaDriver driver;
  if (!cuda.library) {
    driver.problem = "no CUDA driver (libcuda.so.1) on this machine";
    return driver;
  }
  driver.found = true;
  if (!cuda.complete()) {
    driver.problem = "the CUDA driver (libcuda.so.1) lacks functions of its interface";
    return driver;
  }
  int version = 0, count = 0;
  if (cuda.version(&version) == 0 && version > 0)
    driver.version = fmt::format("{}.{}", version / 1000, version % 1000 / 10);
  if (const int status = cuda.init(0); status != 0)
    driver.problem = "the CUDA driver finds no device: " + cuda.describe("cuInit", status);
  else if (const int counted = cuda.count(&count); counted != 0)
    driver.problem = "the CUDA driver finds no device: " + cuda.describe("cuDeviceGetCount", counted);
  else if (count == 0)
    driver.problem = "the CUDA driver finds no device";
  for (int i = 0; i < count; ++i) driver.devices.push_back(describe(cuda, i));
  return driver;
}

}  // namespace tidepool
