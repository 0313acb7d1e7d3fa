// GPUs that are not here, as cuDNN's device-property descriptor reads them: values of NVIDIA's data sheets, and of the
// CUDA programming guide's table of compute capabilities.
#pragma once
#include <fmt/format.h>

#include <string>
#include <vector>

namespace tidepool::testing {

struct DescribedGpu {
  std::string arch, json;
};

inline std::vector<DescribedGpu> described_gpus() {
  struct Sheet {
    const char *arch, *name;
    int capability, multiprocessors, blocks, threads, pci;
    int64_t shared, cache, clock_khz, memory_khz, memory;
  };
  const Sheet sheets[] = {
      {"sm_80", "NVIDIA A100-SXM4-80GB", 800, 108, 32, 2048, 0x20b2, 166912, 41943040, 1410000, 1593000, 85899345920},
      {"sm_89", "NVIDIA GeForce RTX 4090", 890, 128, 24, 1536, 0x2684, 101376, 75497472, 2520000, 10501000,
       25757220864},
      {"sm_90", "NVIDIA H100 80GB HBM3", 900, 132, 32, 2048, 0x2330, 232448, 52428800, 1980000, 2619000, 85899345920},
      {"sm_100", "NVIDIA B200", 1000, 148, 32, 2048, 0x2901, 232448, 132644864, 1965000, 3996000, 191503138816},
      {"sm_120", "NVIDIA GeForce RTX 5090", 1200, 170, 24, 1536, 0x2b85, 101376, 100663296, 2407000, 14001000,
       34190458880},
  };
  std::vector<DescribedGpu> gpus;
  for (const Sheet& s : sheets)
    gpus.push_back(
        {s.arch,
         fmt::format(
             R"({{"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,)"
             R"("multiProcessorCount":{},"warpSize":32,"maxSharedMemoryPerBlock":49152,)"
             R"("maxSharedMemoryPerBlockOptin":{},"reservedSharedMemoryPerBlock":1024,)"
             R"("maxRegistersPerSM":65536,"maxCtasPerSM":{},"maxThreadsPerBlock":1024,"maxThreadsPerSM":{},)"
             R"("pciDeviceId":{},"isTccDriver":0,"supportCoopLaunch":1,"totalGlobalMem":{},"smClockRateKHz":{},)"
             R"("memClockRateKHz":{},"l2CacheSize":{},"cudaDeviceId":0,"deviceVer":{},"driverVer":13000,)"
             R"("deviceName":"{}"}})",
             s.multiprocessors, s.shared, s.blocks, s.threads, s.pci, s.memory, s.clock_khz, s.memory_khz, s.cache,
             s.capability, s.name)});
  return gpus;
}

}  // namespace tidepool::testing
