// Devices: what there is, and how many threads the CPU's loops use. The only folder besides tools/ that may read an
// environment variable.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tidepool {

enum class DeviceKind : uint8_t { cpu, cuda };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  bool operator==(const Device&) const = default;
};
inline constexpr Device kCpu{DeviceKind::cpu};
inline constexpr Device kCuda{DeviceKind::cuda};

constexpr const char* name_of(Device d) {
  return d.kind == DeviceKind::cpu ? "cpu" : "cuda";
}

struct DeviceDescription {
  std::string name;  ///< "cpu" or "cuda"
  std::string model;
  int64_t memory_bytes = 0;
  int threads = 0;           ///< CPU threads or GPU multiprocessors
  std::string kernels = {};  ///< the vector instructions that the CPU's kernels were compiled for: "AVX-512"
};

/// True when CUDA was compiled in.
bool built_with_cuda();
/// True when a CUDA card answers. Never throws.
bool cuda_available();
std::vector<DeviceDescription> list_devices();

/// "auto", "cpu" or "cuda". Throws Error for another name, and for cuda without a card, saying which of the two is
/// missing: the build or the card.
Device parse_device(std::string_view name);

/// Threads of the CPU's loops: OMP_NUM_THREADS, else the processor's.
int cpu_threads();
void set_cpu_threads(int threads);

/// Denormals cost a hundred times a normal number and mean nothing here: flushed to zero in every thread of the loops.
void flush_denormals();

namespace device_memory {
// Raw memory of a CUDA device; without CUDA compiled in they throw Failure.
void* allocate(size_t bytes);  ///< nullptr: out of memory
void release(void* block) noexcept;
void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes);
}  // namespace device_memory

}  // namespace tidepool
