// The contract between the TypeScript engine and its kernels.
//
// Plain C functions over pointers and sizes. Every kernel exists once per dispatch target (native/cpu/, one
// object file per instruction set) and is reached through the table `BelayKernels`. addon.cpp checks lengths
// and calls; nothing in here checks bounds again. The oracle of every function is src/tensor/backend-js.ts.
//
// Rules for every implementation:
//  - Storage is float32. `compute` only says how the operands of matrix products are rounded:
//    BELAY_F32 not at all, BELAY_BF16 to bfloat16 (nearest even) before multiplying, with float32 accumulation.
//  - The bits of a result depend on the target and the arguments, never on the number of threads: work is cut
//    into blocks whose size depends on shapes alone, and partial sums are added in block order.
//  - Outputs never overlap inputs unless the comment says so. Strides (ld*) are in elements.
//  - Nothing is allocated per call beyond the scratch buffers that live as long as the pool.
//  - Zero sizes are legal and do nothing (accumulating outputs stay as they are, others are zero-length).
//
// Shapes: N rows (B*T tokens), T tokens of one row of the batch, D model width, F feed-forward width,
// H query heads, K key/value heads, hd head width, V vocabulary.
//
// Does not: know of tensors, gradients or JavaScript.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum BelayCompute { BELAY_F32 = 0, BELAY_BF16 = 1 };

typedef struct BelayKernels {
  // "portable", "avx2", "avx512" or "avx512bf16" (x86-64); "portable" elsewhere.
  const char *target;

  // --- matrix products -------------------------------------------------------------------------------------
  // C[M,N] = op(A) op(B), or C += when accumulate. op(A) is [M,K]: A[M,K] with stride lda, or the transpose of
  // A[K,M] when transA; op(B) is [K,N] likewise. Small M (decoding) takes a path bound by reading B once.
  void (*gemm)(int compute, int transA, int transB, int64_t M, int64_t N, int64_t K,
               const float *A, int64_t lda, const float *B, int64_t ldb, int accumulate, float *C, int64_t ldc);

  // --- embedding -------------------------------------------------------------------------------------------
  // out[N,D] = weight[ids[n]]. ids were checked against V by the caller.
  void (*embedding)(int64_t N, int64_t D, const float *weight, const int32_t *ids, float *out);
  // dweight[ids[n]] += dout[n], rows in order of n; rows with ids[n] == padding are skipped (-1: none).
  void (*embedding_backward)(int64_t N, int64_t D, const float *dout, const int32_t *ids, int32_t padding,
                             float *dweight);

  // --- residual + RMSNorm ----------------------------------------------------------------------------------
  // sum = x + delta (delta may be NULL: then sum is not written and may be NULL); rstd = 1/sqrt(mean(sum^2)+eps);
  // out = sum * rstd * weight. x, delta, sum, out [N,D]; weight [D]; rstd [N].
  void (*add_rmsnorm)(int64_t N, int64_t D, const float *x, const float *delta, const float *weight, float eps,
                      float *sum, float *out, float *rstd);
  // dsum[N,D] += gradient of the norm with respect to its input (dsum holds, on entry, what reached the
  // residual stream from above); dweight[D] += .  `sum` is the input of the norm.
  void (*add_rmsnorm_backward)(int64_t N, int64_t D, const float *sum, const float *weight, const float *rstd,
                               const float *dout, float *dsum, float *dweight);

  // --- per-head QK-norm + RoPE -----------------------------------------------------------------------------
  // qkv [N, (H+2K)*hd]: q heads, then k heads, then v heads. q[N,H*hd], k[N,K*hd]: each head RMS-normalised
  // with qweight/kweight [hd], then rotated (rotate-half: pairs (j, j+hd/2)) by cosine/sine rows
  // [positions[n]][hd/2]. rstd [N, H+K]. hd is even.
  void (*qk_norm_rope)(int64_t N, int64_t H, int64_t K, int64_t hd, const float *qkv, const float *qweight,
                       const float *kweight, float eps, const float *cosine, const float *sine,
                       const int32_t *positions, float *q, float *k, float *rstd);
  // Writes the q and k parts of dqkv (not v); dqweight, dkweight [hd] += .
  void (*qk_norm_rope_backward)(int64_t N, int64_t H, int64_t K, int64_t hd, const float *qkv,
                                const float *qweight, const float *kweight, const float *rstd,
                                const float *cosine, const float *sine, const int32_t *positions,
                                const float *dq, const float *dk, float *dqkv, float *dqweight, float *dkweight);

  // --- attention -------------------------------------------------------------------------------------------
  // Flash style, grouped queries, variable ranges. Query row i (of Nq) attends to the key/value rows
  // lo[i] <= j < hi[i] (packed documents: lo = first row of its document, hi = i+1; decoding: rows of its cache).
  // lo[i] == hi[i] gives a zero row and lse = -inf. Masked entries of a tile are zeros that are multiplied, so a NaN or
  // infinity in k or v may reach query rows that share its tile (0 * NaN is NaN); it never reaches further. q [Nq,H*hd] stride ldq; k [.,K*hd] stride ldk; v stride ldv;
  // out [Nq,H*hd] contiguous; lse [Nq,H] = log of the softmax denominator of scale*q.k.
  // Query head h uses key/value head h / (H/K).
  void (*attention)(int compute, int64_t Nq, int64_t H, int64_t K, int64_t hd, float scale,
                    const float *q, int64_t ldq, const float *k, int64_t ldk, const float *v, int64_t ldv,
                    const int32_t *lo, const int32_t *hi, float *out, float *lse);
  // Training only: Nq == number of key rows == B*T, and lo/hi of a row stay inside its own row block of T.
  // dq [N,H*hd], dk [N,K*hd] are written; dv is written with stride lddv (it is the v part of dqkv).
  void (*attention_backward)(int compute, int64_t B, int64_t T, int64_t H, int64_t K, int64_t hd, float scale,
                             const float *q, int64_t ldq, const float *k, int64_t ldk, const float *v, int64_t ldv,
                             const int32_t *lo, const int32_t *hi, const float *out, const float *lse,
                             const float *dout, float *dq, float *dk, float *dv, int64_t lddv);

  // --- xIELU -----------------------------------------------------------------------------------------------
  // p = softplus(alpha_p), n = beta + softplus(alpha_n); x > 0: p x^2 + beta x; else n (expm1(min(x,eps)) - x) + beta x.
  // alpha_p, alpha_n point at one float each.
  void (*xielu)(int64_t count, const float *x, const float *alpha_p, const float *alpha_n, float beta, float eps,
                float *out);
  // dx = dout * slope (dx may be dout); dalpha_p, dalpha_n (one float each) += . In eps < x <= 0 the slope is
  // beta - n (the clamp has derivative 0 there, x = 0 included).
  void (*xielu_backward)(int64_t count, const float *x, const float *alpha_p, const float *alpha_n, float beta,
                         float eps, const float *dout, float *dx, float *dalpha_p, float *dalpha_n);

  // --- activations that xIELU is compared with -------------------------------------------------------------
  // gate_up [N, 2F]: gate, then up, in each row. out[N,F] = silu(gate) * up, silu(a) = a / (1 + exp(-a)).
  void (*swiglu)(int64_t N, int64_t F, const float *gate_up, float *out);
  // dgate_up [N, 2F] is written: dout * up * silu'(gate), then dout * silu(gate).
  void (*swiglu_backward)(int64_t N, int64_t F, const float *gate_up, const float *dout, float *dgate_up);
  // out = max(x, 0)^2.
  void (*relu2)(int64_t count, const float *x, float *out);
  // dx = dout * 2 max(x, 0) (dx may be dout).
  void (*relu2_backward)(int64_t count, const float *x, const float *dout, float *dx);

  // --- linear + softmax cross-entropy ----------------------------------------------------------------------
  // logits = x weight^T, in chunks of rows, never stored whole. loss[n] = logsumexp(logits[n]) - logits[n][label].
  // With coefficient (else NULL): the gradient of sum_n coefficient[n]*loss[n] is computed in the same pass:
  // dx [N,D] is written, dweight [V,D] += . Rows with coefficient 0 still report their loss; a chunk whose
  // coefficients are all 0 skips its gradient products. labels were checked against V by the caller.
  void (*linear_cross_entropy)(int compute, int64_t N, int64_t D, int64_t V, const float *x, const float *weight,
                               const int32_t *labels, const float *coefficient, float *loss, float *dx,
                               float *dweight);

  // --- elementwise and reductions --------------------------------------------------------------------------
  void (*fill)(int64_t count, float value, float *out);
  void (*add)(int64_t count, const float *a, const float *b, float *out);  // out may be a or b
  void (*scale)(int64_t count, float factor, float *x);                    // x *= factor
  double (*sum_of_squares)(int64_t count, const float *x);                 // fixed tree over blocks of 4096
  void (*to_bf16)(int64_t count, const float *x, uint16_t *out);           // nearest even; NaN stays NaN
  void (*from_bf16)(int64_t count, const uint16_t *x, float *out);

  // --- optimizers ------------------------------------------------------------------------------------------
  // One step over `count` elements that share a weight decay; g is multiplied by clip first.
  // m1 = b1 m1 + (1-b1) g; m2 = b3 m2 + (1-b3) g; v = b2 v + (1-b2) g^2;
  // p -= lr ((m1/c1 + alpha m2) / (sqrt(v)/sqrt(c2) + eps) + decay p), with c1 = 1-b1^t, c2 = 1-b2^t given.
  void (*ademamix)(int64_t count, float *p, const float *g, float *m1, float *m2, float *v, double clip, double lr,
                   double b1, double b2, double b3, double alpha, double eps, double decay, double c1, double c2);
  // m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p = p (1 - lr decay) - lr (m/c1) / (sqrt(v)/sqrt(c2) + eps).
  void (*adamw)(int64_t count, float *p, const float *g, float *m, float *v, double clip, double lr, double b1,
                double b2, double eps, double decay, double c1, double c2);

  // --- measuring -------------------------------------------------------------------------------------------
  // Runs `iterations` rounds of independent fused multiply-adds on every thread and returns the number of
  // floating-point operations done in all; the caller times it. The limit that bench/ divides by.
  double (*peak)(int compute, int64_t iterations);
} BelayKernels;

// Threads of the pool (all targets share it). 1 <= n <= 256. Joined by belay_threads_stop().
void belay_threads_start(int n);
int belay_threads(void);
void belay_threads_stop(void);

// The table of a target by name, or NULL where this build or this processor lacks it (why, if not NULL, then
// points at a sentence for people).
const BelayKernels *belay_kernels(const char *target, const char **why);
// Names of all targets of this architecture, best first, NULL-terminated.
const char *const *belay_targets(void);

#ifdef __cplusplus
}
#endif
