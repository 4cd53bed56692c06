// Sixteen float lanes: AVX-512 F, BW, VL, DQ. The names are those of simd-portable.h, where they are explained.
//
// Does not: use the BF16 extension; that is in panels.inl, behind __AVX512BF16__.
#pragma once
// GCC 12 warns about its own header's undefined registers.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

namespace {

constexpr int W = 16;

typedef __m512 vf;
typedef int32_t vi __attribute__((vector_size(64)));
typedef __mmask16 vm;
typedef float half_vf __attribute__((vector_size(32), aligned(4), may_alias));
typedef double vd __attribute__((vector_size(64)));

constexpr int MR = 14;  // 28 sums + 2 columns of B + 1 broadcast of A = 31 of 32 registers
constexpr int PEAK_CHAINS = 24;

inline vf load(const float *p) { return _mm512_loadu_ps(p); }
inline void store(float *p, vf x) { _mm512_storeu_ps(p, x); }
inline vf set1(float x) { return _mm512_set1_ps(x); }
inline vi set1i(int32_t x) { return (vi)_mm512_set1_epi32(x); }
inline vi lane_index() { return vi{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }

inline vm first_lanes(int64_t n) { return vm((1u << n) - 1); }
inline vf load_part(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
inline void store_part(float *p, vf x, int64_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }

inline vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
inline vf fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }

inline vm less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline vm lessi(vi a, vi b) { return _mm512_cmplt_epi32_mask((__m512i)a, (__m512i)b); }
inline vm both(vm a, vm b) { return vm(a & b); }
inline vf select(vm m, vf yes, vf no) { return _mm512_mask_blend_ps(m, no, yes); }
inline vi selecti(vm m, vi yes, vi no) { return (vi)_mm512_mask_blend_epi32(m, (__m512i)no, (__m512i)yes); }
inline bool any(vm m) { return m != 0; }
// vmaxps and vminps return their second operand when either is NaN.
inline vf at_least(vf x, vf low) { return _mm512_max_ps(low, x); }
inline vf at_most(vf x, vf high) { return _mm512_min_ps(high, x); }

inline vf sqrt(vf x) { return _mm512_sqrt_ps(x); }
inline vf round_nearest(vf x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline vi to_int(vf x) { return (vi)_mm512_cvtps_epi32(x); }
inline vf scale_by_power(vf x, vf n) { return _mm512_scalef_ps(x, n); }

inline __m256 upper_half(vf x) { return _mm512_extractf32x8_ps(x, 1); }
inline float sum_lanes(vf x) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), upper_half(x));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float max_lanes(vf x) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(x), upper_half(x));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

inline __attribute__((always_inline)) void transpose(vf r[W]) {
  vf t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const vf a = t[4 * i], b = t[4 * i + 1], c = t[4 * i + 2], d = t[4 * i + 3];
    r[4 * i] = _mm512_shuffle_ps(a, c, 0x44);
    r[4 * i + 1] = _mm512_shuffle_ps(a, c, 0xee);
    r[4 * i + 2] = _mm512_shuffle_ps(b, d, 0x44);
    r[4 * i + 3] = _mm512_shuffle_ps(b, d, 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0xdd);
  }
}

inline void store_bf16_bits(uint16_t *p, vi bits) {
  _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16((__m512i)bits));
}
inline vi load_bf16_bits(const uint16_t *p) {
  return (vi)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
}

}  // namespace
