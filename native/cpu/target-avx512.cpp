// AVX-512. Compile with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma.
// The kernels are in kernels.inl; this file only names the target.
#define BELAY_TARGET "avx512"
#define BELAY_TARGET_TABLE belay_target_avx512
#if defined(__x86_64__)
#define BELAY_SIMD "simd-avx512.h"
#include "kernels.inl"
#endif
