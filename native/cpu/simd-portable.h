// Four float lanes in the compiler's own vector type: SSE2 on x86-64, NEON on arm64, plain code elsewhere.
//
// Every simd-*.h offers the same names; the kernels are written once over them. All of it sits in an unnamed
// namespace so that each target keeps its own copy.
//
// Does not: use intrinsics, except arm64's fused multiply-add, which the vector type cannot express.
#pragma once
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

constexpr int W = 4;  // lanes

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef vi vm;  // a mask: all bits of a lane set or none
typedef float vf_unaligned __attribute__((vector_size(16), aligned(4), may_alias));
typedef float half_vf __attribute__((vector_size(8), aligned(4), may_alias));
typedef double vd __attribute__((vector_size(16)));  // W/2 lanes

// Rows and columns of the register tile of a matrix product: ROWS * 2 vectors of sums must fit in registers.
#if defined(__aarch64__)
constexpr int MR = 8;
#else
constexpr int MR = 4;
#endif
constexpr int PEAK_CHAINS = 8;  // independent sums that reach the limit of the multiplier

inline vf load(const float *p) { return *(const vf_unaligned *)p; }
inline void store(float *p, vf x) { *(vf_unaligned *)p = x; }
inline vf set1(float x) { return vf{x, x, x, x}; }
inline vi set1i(int32_t x) { return vi{x, x, x, x}; }
inline vi lane_index() { return vi{0, 1, 2, 3}; }

// The first n lanes (0 <= n <= W); the others are zero and their memory is not touched.
inline vf load_part(const float *p, int64_t n) {
  vf x = {};
  for (int i = 0; i < W; i++)
    if (i < n) x[i] = p[i];
  return x;
}
inline void store_part(float *p, vf x, int64_t n) {
  for (int i = 0; i < W; i++)
    if (i < n) p[i] = x[i];
}

#if defined(__aarch64__)
inline vf fma(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
inline vf fma(vf a, vf b, vf c) { return a * b + c; }
#endif
inline vf fnma(vf a, vf b, vf c) { return fma(-a, b, c); }

inline vm less(vf a, vf b) { return a < b; }
inline vm lessi(vi a, vi b) { return a < b; }
inline vm both(vm a, vm b) { return a & b; }
inline vf select(vm m, vf yes, vf no) { return m ? yes : no; }
inline vi selecti(vm m, vi yes, vi no) { return m ? yes : no; }
inline bool any(vm m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }
// A NaN in x stays.
inline vf at_least(vf x, vf low) { return x < low ? low : x; }
inline vf at_most(vf x, vf high) { return x > high ? high : x; }

inline vf sqrt(vf x) {
  for (int i = 0; i < W; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
}
// To the nearest whole number; |x| < 2^22. Adding 1.5 * 2^23 pushes the fraction out of the significand.
inline vf round_nearest(vf x) { return (x + 12582912.0f) - 12582912.0f; }
inline vi to_int(vf x) { return __builtin_convertvector(x, vi); }
// x * 2^n for whole n in [-252, 254], in two steps so that neither factor leaves the range of a float.
inline vf scale_by_power(vf x, vf n) {
  const vi whole = to_int(n), half = whole >> 1;
  return x * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
}

inline float sum_lanes(vf x) { return (x[0] + x[2]) + (x[1] + x[3]); }
inline float max_lanes(vf x) {
  float m = x[0];
  for (int i = 1; i < W; i++) m = x[i] > m ? x[i] : m;
  return m;
}

inline __attribute__((always_inline)) void transpose(vf r[W]) {
  const vf a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5), b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
  const vf c = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7), d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
  r[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  r[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  r[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  r[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

inline void store_bf16_bits(uint16_t *p, vi bits) {
  for (int i = 0; i < W; i++) p[i] = uint16_t(bits[i]);
}
inline vi load_bf16_bits(const uint16_t *p) { return vi{p[0], p[1], p[2], p[3]}; }

}  // namespace
