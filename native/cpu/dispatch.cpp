// Which kernels this build and this processor have.
//
// Each target is an object file of its own, compiled with the flags of its instruction set and reached only
// through its table, so that no newer instruction can run before the processor was asked.
//
// Does not: choose. The caller asks for a target by name and gets a table or a reason.
#include <string.h>

#include "../kernels.h"

extern "C" const BelayKernels *belay_target_portable(void);
#if defined(__x86_64__)
extern "C" const BelayKernels *belay_target_avx2(void);
extern "C" const BelayKernels *belay_target_avx512(void);
extern "C" const BelayKernels *belay_target_avx512bf16(void);
#endif

namespace {

// __builtin_cpu_supports also asks whether the operating system saves the wide registers.
#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
bool has_avx512bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#endif
bool always() { return true; }

struct Target {
  const char *name;
  const BelayKernels *(*table)(void);
  bool (*supported)();
  const char *refusal;
};

const Target targets[] = {
#if defined(__x86_64__)
    {"avx512bf16", belay_target_avx512bf16, has_avx512bf16,
     "This processor lacks AVX-512 with the BF16 extension (Intel Cooper Lake or Sapphire Rapids, AMD Zen 4, "
     "and newer)."},
    {"avx512", belay_target_avx512, has_avx512,
     "This processor or its operating system lacks AVX-512 (F, BW, VL and DQ)."},
    {"avx2", belay_target_avx2, has_avx2, "This processor or its operating system lacks AVX2 with FMA."},
#endif
    {"portable", belay_target_portable, always, ""},
};

constexpr int target_count = sizeof targets / sizeof targets[0];

}  // namespace

extern "C" const BelayKernels *belay_kernels(const char *name, const char **why) {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  for (const Target &target : targets) {
    if (strcmp(target.name, name) != 0) continue;
    if (target.supported()) return target.table();
    if (why) *why = target.refusal;
    return nullptr;
  }
  if (why) *why = "This build has no kernels of that name for this architecture.";
  return nullptr;
}

extern "C" const char *const *belay_targets(void) {
  static const char *names[target_count + 1] = {};
  for (int i = 0; i < target_count; i++) names[i] = targets[i].name;
  return names;
}
