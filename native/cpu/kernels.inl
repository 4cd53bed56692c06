// All kernels of one target, compiled once per target-*.cpp with BELAY_SIMD naming its vector header.
//
// Everything is in unnamed namespaces and nothing from the C++ standard library is instantiated: a function with
// a shared name would be merged by the linker across targets, and the portable kernels could then execute an
// AVX-512 copy. Only C headers, the pool's two functions and the compiler's builtins are used.
//
// Does not: contain a kernel itself; each .inl below holds one concept and may use those above it.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../kernels.h"
#include "pool.h"
#include BELAY_SIMD

#include "blocks.inl"
#include "math.inl"
#include "panels.inl"
#include "gemm.inl"
#include "elementwise.inl"
#include "embedding.inl"
#include "norm.inl"
#include "rope.inl"
#include "attention.inl"
#include "attention-backward.inl"
#include "xielu.inl"
#include "activations.inl"
#include "loss.inl"
#include "optimizer.inl"
#include "peak.inl"

extern "C" const BelayKernels *BELAY_TARGET_TABLE(void) {
  static const BelayKernels table = {
      .target = BELAY_TARGET,
      .gemm = gemm,
      .embedding = embedding,
      .embedding_backward = embedding_backward,
      .add_rmsnorm = add_rmsnorm,
      .add_rmsnorm_backward = add_rmsnorm_backward,
      .qk_norm_rope = qk_norm_rope,
      .qk_norm_rope_backward = qk_norm_rope_backward,
      .attention = attention,
      .attention_backward = attention_backward,
      .xielu = xielu,
      .xielu_backward = xielu_backward,
      .swiglu = swiglu,
      .swiglu_backward = swiglu_backward,
      .relu2 = relu2,
      .relu2_backward = relu2_backward,
      .linear_cross_entropy = linear_cross_entropy,
      .fill = fill,
      .add = add,
      .scale = scale,
      .sum_of_squares = sum_of_squares,
      .to_bf16 = to_bf16,
      .from_bf16 = from_bf16,
      .ademamix = ademamix,
      .adamw = adamw,
      .peak = peak,
  };
  return &table;
}
