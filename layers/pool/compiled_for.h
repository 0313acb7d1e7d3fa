// A pooling operator's source is compiled once by the C++ compiler, for the CPU, and, when CUDA is on, once more by
// nvcc (CMake writes a .cu file that defines TP_COMPILE_FOR_CUDA and includes it). What both passes define outside of
// an unnamed namespace stands in TP_COMPILED_FOR, so that the linker keeps them apart.
#pragma once

#if defined(TP_COMPILE_FOR_CUDA)
#define TP_COMPILED_FOR on_cuda
#else
#define TP_COMPILED_FOR on_cpu
#endif

namespace tidepool {
inline namespace TP_COMPILED_FOR {}
}  // namespace tidepool
