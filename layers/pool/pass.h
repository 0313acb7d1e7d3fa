// A pooling operator's source is compiled once by the C++ compiler, for the CPU, and, when CUDA is on, once more by
// nvcc (CMake writes a .cu file that defines TP_DEVICE_PASS and includes it). What both passes define outside of an
// unnamed namespace stands in TP_PASS, so that the linker keeps them apart.
#pragma once

#if defined(TP_DEVICE_PASS)
#define TP_PASS on_cuda
#else
#define TP_PASS on_cpu
#endif

namespace tidepool {
inline namespace TP_PASS {}
}  // namespace tidepool
