// Compiled as everything is: the compiler says what it uses.
#include "tools/processor.h"

#if defined(__x86_64__) && __has_include(<sys/platform/x86.h>)
#include <sys/platform/x86.h>
#endif

namespace tidepool {

// A constant: no code may run before the processor is known to have the instructions for it.
constinit const ProcessorFeature kCompiledFeatures[] = {
#if defined(__x86_64__) && __has_include(<sys/platform/x86.h>)
#ifdef __SSE4_2__
    {"SSE4.2", x86_cpu_SSE4_2},
#endif
#ifdef __AVX__
    {"AVX", x86_cpu_AVX},
#endif
#ifdef __AVX2__
    {"AVX2", x86_cpu_AVX2},
#endif
#ifdef __FMA__
    {"FMA", x86_cpu_FMA},
#endif
#ifdef __F16C__
    {"F16C", x86_cpu_F16C},
#endif
#ifdef __BMI2__
    {"BMI2", x86_cpu_BMI2},
#endif
#ifdef __VAES__
    {"VAES", x86_cpu_VAES},
#endif
#ifdef __GFNI__
    {"GFNI", x86_cpu_GFNI},
#endif
#ifdef __AVX512F__
    {"AVX512F", x86_cpu_AVX512F},
#endif
#ifdef __AVX512BW__
    {"AVX512BW", x86_cpu_AVX512BW},
#endif
#ifdef __AVX512CD__
    {"AVX512CD", x86_cpu_AVX512CD},
#endif
#ifdef __AVX512DQ__
    {"AVX512DQ", x86_cpu_AVX512DQ},
#endif
#ifdef __AVX512VL__
    {"AVX512VL", x86_cpu_AVX512VL},
#endif
#ifdef __AVX512IFMA__
    {"AVX512_IFMA", x86_cpu_AVX512_IFMA},
#endif
#ifdef __AVX512VBMI__
    {"AVX512_VBMI", x86_cpu_AVX512_VBMI},
#endif
#ifdef __AVX512VBMI2__
    {"AVX512_VBMI2", x86_cpu_AVX512_VBMI2},
#endif
#ifdef __AVX512VNNI__
    {"AVX512_VNNI", x86_cpu_AVX512_VNNI},
#endif
#ifdef __AVX512BITALG__
    {"AVX512_BITALG", x86_cpu_AVX512_BITALG},
#endif
#ifdef __AVX512VPOPCNTDQ__
    {"AVX512_VPOPCNTDQ", x86_cpu_AVX512_VPOPCNTDQ},
#endif
#ifdef __AVX512BF16__
    {"AVX512_BF16", x86_cpu_AVX512_BF16},
#endif
#ifdef __AVX512FP16__
    {"AVX512_FP16", x86_cpu_AVX512_FP16},
#endif
#ifdef __AVXVNNI__
    {"AVX_VNNI", x86_cpu_AVX_VNNI},
#endif
#endif
    {nullptr, 0}};

}  // namespace tidepool
