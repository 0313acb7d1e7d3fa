// TP_HD marks a function for both compilers; TP_INLINE is a hint the hot loops depend on, TP_UNROLL another: without it
// short arrays of vectors live in memory.
#pragma once

#if defined(__CUDACC__)
#define TP_HD __host__ __device__
#define TP_INLINE __forceinline__
#define TP_UNROLL _Pragma("unroll")
#else
#define TP_HD
#define TP_INLINE inline __attribute__((always_inline))
#define TP_UNROLL _Pragma("GCC unroll 8")
#endif
