#include "core/device.h"

#include <omp.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "core/cuda/runtime_api.h"
#include "core/error.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace tidepool {
namespace {

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown processor";
}

// Of this file, which is compiled as the kernels are.
constexpr const char* compiled_instructions() {
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
  return "AVX-512";
#elif defined(__AVX2__) && defined(__FMA__)
  return "AVX2";
#elif defined(__AVX__)
  return "AVX";
#elif defined(__SSE4_2__)
  return "SSE4.2";
#elif defined(__SSE2__)
  return "SSE2";
#elif defined(__ARM_NEON)
  return "NEON";
#else
  return "no vector instructions";
#endif
}

}  // namespace

bool built_with_cuda() {
  return cuda::kBuilt;
}

bool cuda_available() {
  return cuda::device_count() > 0;
}

std::vector<DeviceDescription> list_devices() {
  std::vector<DeviceDescription> devices;
  devices.push_back({.name = "cpu",
                     .model = cpu_model(),
                     .memory_bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE),
                     .threads = cpu_threads(),
                     .kernels = compiled_instructions()});
  if (cuda_available()) devices.push_back(cuda::describe());
  return devices;
}

Device parse_device(std::string_view name) {
  if (name == "cpu") return kCpu;
  if (name == "auto") return cuda_available() ? kCuda : kCpu;
  if (name != "cuda") throw Error("device: expected auto, cpu or cuda, got '{}'", name);
  if (!built_with_cuda()) throw Error("device cuda: this build has no CUDA; install nvcc and build again");
  if (!cuda_available()) throw Error("device cuda: no CUDA card answers on this machine");
  return kCuda;
}

int cpu_threads() {
  return omp_get_max_threads();
}

void set_cpu_threads(int threads) {
  if (threads < 1) throw Error("threads: expected at least 1, got {}", threads);
  omp_set_num_threads(threads);
}

void flush_denormals() {
#if defined(__SSE2__)
#pragma omp parallel
  {
    _MM_SET_FLUSH_ZERO_MODE(_MM_FLUSH_ZERO_ON);
    _mm_setcsr(_mm_getcsr() | 0x0040u);  // denormals are zero
  }
#endif
}

namespace device_memory {

void* allocate(size_t bytes) {
  return cuda::allocate(bytes);
}
void release(void* block) noexcept {
  cuda::release(block);
}
void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  if (bytes == 0) return;
  if (to_device == kCpu && from_device == kCpu)
    std::memcpy(to, from, bytes);
  else
    cuda::copy(to, to_device, from, from_device, bytes);
}

}  // namespace device_memory
}  // namespace tidepool
