// TP_HD marks a function for both compilers; TP_INLINE is a hint the hot loops depend on, TP_UNROLL another: without it
// short arrays of vectors live in memory. TP_ROLLED: a loop that stays one on a GPU, where unrolling it takes registers
// for twice the addresses, and half the threads find room.
#pragma once

#if defined(__CUDACC__)
#define TP_HD __host__ __device__
#define TP_INLINE __forceinline__
#define TP_UNROLL _Pragma("unroll")
#define TP_ROLLED _Pragma("unroll 1")
#else
#define TP_HD
#define TP_INLINE inline __attribute__((always_inline))
#define TP_UNROLL _Pragma("GCC unroll 8")
#define TP_ROLLED
#endif
// TP_DEVICE_PASS: this pass compiles kernels of a GPU, real or simulated, which know no vectors. What is not the same
// then, and has a name that the linker sees, is of that pass alone: TP_OF_PASS functions, TP_TYPE_OF_PASS classes.
#if defined(__CUDACC__) || defined(TP_SIMULATED_CUDA)
#define TP_DEVICE_PASS
#define TP_OF_PASS [[maybe_unused]] static inline
#define TP_TYPE_OF_PASS __attribute__((abi_tag("device")))
#else
#define TP_OF_PASS inline
#define TP_TYPE_OF_PASS
#endif
// TP_WARPS: what is compiled now runs in warps, real or simulated.
#if defined(__CUDA_ARCH__) || defined(TP_SIMULATED_CUDA)
#define TP_WARPS
#endif
