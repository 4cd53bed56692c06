// AVX2 with FMA. Compile with -mavx2 -mfma.
// The kernels are in kernels.inl; this file only names the target.
#define BELAY_TARGET "avx2"
#define BELAY_TARGET_TABLE belay_target_avx2
#if defined(__x86_64__)
#define BELAY_SIMD "simd-avx2.h"
#include "kernels.inl"
#endif
