// Eight float lanes: AVX2 with FMA. The names are those of simd-portable.h, where they are explained.
//
// Does not: use AVX-512; compiled with -mavx2 -mfma only.
#pragma once
#include <immintrin.h>

namespace {

constexpr int W = 8;

typedef __m256 vf;
typedef int32_t vi __attribute__((vector_size(32)));
typedef vi vm;
typedef float half_vf __attribute__((vector_size(16), aligned(4), may_alias));
typedef double vd __attribute__((vector_size(32)));

constexpr int MR = 6;  // 12 sums + 2 columns of B + 1 broadcast of A = 15 of 16 registers
constexpr int PEAK_CHAINS = 12;

inline vf load(const float *p) { return _mm256_loadu_ps(p); }
inline void store(float *p, vf x) { _mm256_storeu_ps(p, x); }
inline vf set1(float x) { return _mm256_set1_ps(x); }
inline vi set1i(int32_t x) { return (vi)_mm256_set1_epi32(x); }
inline vi lane_index() { return vi{0, 1, 2, 3, 4, 5, 6, 7}; }

inline __m256i first_lanes(int64_t n) { return (__m256i)(lane_index() < set1i(int32_t(n))); }
inline vf load_part(const float *p, int64_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
inline void store_part(float *p, vf x, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), x); }

inline vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
inline vf fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }

inline vm less(vf a, vf b) { return (vm)_mm256_cmp_ps(a, b, _CMP_LT_OQ); }
inline vm lessi(vi a, vi b) { return a < b; }
inline vm both(vm a, vm b) { return a & b; }
inline vf select(vm m, vf yes, vf no) { return _mm256_blendv_ps(no, yes, (__m256)m); }
inline vi selecti(vm m, vi yes, vi no) { return (vi)_mm256_blendv_epi8((__m256i)no, (__m256i)yes, (__m256i)m); }
inline bool any(vm m) { return _mm256_movemask_ps((__m256)m) != 0; }
// vmaxps and vminps return their second operand when either is NaN.
inline vf at_least(vf x, vf low) { return _mm256_max_ps(low, x); }
inline vf at_most(vf x, vf high) { return _mm256_min_ps(high, x); }

inline vf sqrt(vf x) { return _mm256_sqrt_ps(x); }
inline vf round_nearest(vf x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vi to_int(vf x) { return (vi)_mm256_cvtps_epi32(x); }
inline vf scale_by_power(vf x, vf n) {
  const vi whole = to_int(n), half = whole >> 1;
  return x * (vf)((half + 127) << 23) * (vf)((whole - half + 127) << 23);
}

inline float sum_lanes(vf x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float max_lanes(vf x) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

inline __attribute__((always_inline)) void transpose(vf r[W]) {
  vf t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++) {
    const vf a = t[4 * i], b = t[4 * i + 1], c = t[4 * i + 2], d = t[4 * i + 3];
    r[4 * i] = _mm256_shuffle_ps(a, c, 0x44);
    r[4 * i + 1] = _mm256_shuffle_ps(a, c, 0xee);
    r[4 * i + 2] = _mm256_shuffle_ps(b, d, 0x44);
    r[4 * i + 3] = _mm256_shuffle_ps(b, d, 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const vf low = r[i], high = r[i + 4];
    r[i] = _mm256_permute2f128_ps(low, high, 0x20);
    r[i + 4] = _mm256_permute2f128_ps(low, high, 0x31);
  }
}

inline void store_bf16_bits(uint16_t *p, vi bits) {
  const __m128i low = _mm256_castsi256_si128((__m256i)bits), high = _mm256_extracti128_si256((__m256i)bits, 1);
  _mm_storeu_si128((__m128i *)p, _mm_packus_epi32(low, high));
}
inline vi load_bf16_bits(const uint16_t *p) {
  return (vi)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
}

}  // namespace
