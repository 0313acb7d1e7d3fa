// TP_HD marks a function for both compilers; TP_INLINE is a hint the hot loops depend on.
#pragma once

#if defined(__CUDACC__)
#define TP_HD __host__ __device__
#define TP_INLINE __forceinline__
#else
#define TP_HD
#define TP_INLINE inline __attribute__((always_inline))
#endif
