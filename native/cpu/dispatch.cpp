// Which kernels this build and this processor have.
//
// Each target is an object file of its own, compiled with the flags of its instruction set and reached only
// through its table, so that no newer instruction can run before the processor was asked.
//
// Does not: choose. The caller asks for a target by name and gets a table or a reason.
#include <string.h>

#include "../kernels.h"

extern "C" const BelayKernels *belay_target_portable(void);

// build.mjs leaves out a target whose instructions the compiler does not know, and says so by BELAY_NO_<TARGET>.
// Declaring, asking for and listing a target are kept together, because old compilers do not know the question either.
#if defined(__x86_64__) && !defined(BELAY_NO_AVX2)
#define BELAY_HAS_AVX2
extern "C" const BelayKernels *belay_target_avx2(void);
#endif
#if defined(__x86_64__) && !defined(BELAY_NO_AVX512)
#define BELAY_HAS_AVX512
extern "C" const BelayKernels *belay_target_avx512(void);
#endif
#if defined(__x86_64__) && !defined(BELAY_NO_AVX512BF16)
#define BELAY_HAS_AVX512BF16
extern "C" const BelayKernels *belay_target_avx512bf16(void);
#endif

namespace {

// __builtin_cpu_supports also asks whether the operating system saves the wide registers.
#if defined(BELAY_HAS_AVX2)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
#if defined(BELAY_HAS_AVX512) || defined(BELAY_HAS_AVX512BF16)
bool has_avx512() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
}
#endif
#if defined(BELAY_HAS_AVX512BF16)
bool has_avx512bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#endif
bool always() { return true; }

struct Target {
  const char *name;
  const BelayKernels *(*table)(void);  // null: not in this build
  bool (*supported)();
  const char *refusal;
};

#if defined(__x86_64__)
constexpr const char *not_built = "It was not built: the compiler does not know its instructions.";
#endif

const Target targets[] = {
#if defined(BELAY_HAS_AVX512BF16)
    {"avx512bf16", belay_target_avx512bf16, has_avx512bf16,
     "This processor lacks AVX-512 with the BF16 extension (Intel Cooper Lake or Sapphire Rapids, AMD Zen 4, "
     "and newer)."},
#elif defined(__x86_64__)
    {"avx512bf16", nullptr, nullptr, not_built},
#endif
#if defined(BELAY_HAS_AVX512)
    {"avx512", belay_target_avx512, has_avx512,
     "This processor or its operating system lacks AVX-512 (F, BW, VL and DQ)."},
#elif defined(__x86_64__)
    {"avx512", nullptr, nullptr, not_built},
#endif
#if defined(BELAY_HAS_AVX2)
    {"avx2", belay_target_avx2, has_avx2, "This processor or its operating system lacks AVX2 with FMA."},
#elif defined(__x86_64__)
    {"avx2", nullptr, nullptr, not_built},
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
    if (target.table != nullptr && target.supported()) return target.table();
    if (why) *why = target.refusal;
    return nullptr;
  }
  if (why) *why = "This build has no kernels of that name for this architecture.";
  return nullptr;
}

namespace {

struct Names {
  const char *list[target_count + 1] = {};

  Names() {
    for (int i = 0; i < target_count; i++) list[i] = targets[i].name;
#if defined(__x86_64__)
    // The first two differ in products of bfloat16 pairs alone. AMD's processors since Zen 4 issue VDPBF16PS as often as a
    // multiply-add, so that twice the work is done; Intel's issue it a quarter as often: on Emerald Rapids its peak is half
    // that of float32 (bench/results/train-step_xeon-emerald-rapids-2c_2026-11-23.md).
    __builtin_cpu_init();
    if (!__builtin_cpu_is("amd")) {
      list[0] = targets[1].name;
      list[1] = targets[0].name;
    }
#endif
  }
};

}  // namespace

extern "C" const char *const *belay_targets(void) {
  static const Names names;
  return names.list;
}
