// Baseline instructions of the architecture: runs on every processor, and is what arm64 uses.
// The kernels are in kernels.inl; this file only names the target.
#define BELAY_TARGET "portable"
#define BELAY_TARGET_TABLE belay_target_portable
#define BELAY_SIMD "simd-portable.h"
#include "kernels.inl"
