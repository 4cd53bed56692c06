// AVX-512 with BF16 products. Compile with the flags of target-avx512.cpp and -mavx512bf16.
// The kernels are in kernels.inl; this file only names the target.
#define BELAY_TARGET "avx512bf16"
#define BELAY_TARGET_TABLE belay_target_avx512bf16
#if defined(__x86_64__)
#define BELAY_SIMD "simd-avx512.h"
#include "kernels.inl"
#endif
