// exp, expm1, log and rounding to bfloat16 on vectors.
//
// Does not: trap or set errno. NaN stays NaN.

namespace {

typedef uint32_t vu __attribute__((vector_size(W * 4)));

// x = n ln2 + r with |r| <= ln2/2. ln2 in two parts (Cody and Waite): n times the first is exact.
inline vf reduce_by_ln2(vf x, vf &n) {
  n = round_nearest(x * set1(1.44269504089f));
  return fnma(n, set1(-2.12194440e-4f), fnma(n, set1(0.693359375f), x));
}

// e^r - 1 for |r| <= ln2/2, relative error near 1e-7. Coefficients: Cephes expf (S. Moshier).
inline vf expm1_reduced(vf r) {
  vf p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  return fma(p, r * r, r);
}

// e^x within 2 ulp. Beyond the clamps the result is 0 (below half the smallest denormal) or infinity.
inline vf exp(vf x) {
  vf n;
  const vf r = reduce_by_ln2(at_most(at_least(x, set1(-104.0f)), set1(89.0f)), n);
  return scale_by_power(expm1_reduced(r) + set1(1.0f), n);
}

// The same for x <= 0 or barely above, where nothing overflows.
inline vf exp_of_nonpositive(vf x) {
  vf n;
  const vf r = reduce_by_ln2(at_least(x, set1(-104.0f)), n);
  return scale_by_power(expm1_reduced(r) + set1(1.0f), n);
}

// e^x - 1 for x <= 0 with small relative error near 0 too: 2^n (e^r - 1) + (2^n - 1).
inline vf expm1_of_nonpositive(vf x) {
  vf n;
  const vf r = reduce_by_ln2(at_least(x, set1(-87.0f)), n);
  const vf power = scale_by_power(set1(1.0f), n);
  return fma(power, expm1_reduced(r), power - set1(1.0f));
}

// ln x for positive normal x, within 2 ulp away from 1; infinity and NaN stay. Coefficients: Cephes logf.
inline vf log_of_positive(vf x) {
  // x = 2^e m with sqrt(1/2) <= m < sqrt(2).
  const vi bits = (vi)x;
  const vi shifted = bits - set1i(0x3f3504f3);
  const vf e = __builtin_convertvector(shifted >> 23, vf);
  const vf m = (vf)((shifted & 0x007fffff) + set1i(0x3f3504f3)) - set1(1.0f);
  vf p = set1(7.0376836292e-2f);
  p = fma(p, m, set1(-1.1514610310e-1f));
  p = fma(p, m, set1(1.1676998740e-1f));
  p = fma(p, m, set1(-1.2420140846e-1f));
  p = fma(p, m, set1(1.4249322787e-1f));
  p = fma(p, m, set1(-1.6668057665e-1f));
  p = fma(p, m, set1(2.0000714765e-1f));
  p = fma(p, m, set1(-2.4999993993e-1f));
  p = fma(p, m, set1(3.3333331174e-1f));
  const vf square = m * m;
  vf y = fma(p, square * m, e * set1(-2.12194440e-4f));
  y = fnma(set1(0.5f), square, y);
  const vf log = fma(e, set1(0.693359375f), m + y);
  return select(less(x, set1(__builtin_inff())), log, x);
}

// The upper 16 bits of each lane rounded to nearest even; NaN becomes a quiet NaN of the same sign.
inline vi bf16_bits(vf x) {
  const vu bits = (vu)x;
  const vi rounded = (vi)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  const vi quiet = (vi)((bits >> 16) | 0x40u);
  return selecti(lessi(set1i(0x7f800000), (vi)(bits & 0x7fffffffu)), quiet, rounded);
}
inline vf round_to_bf16(vf x) { return (vf)(bf16_bits(x) << 16); }

inline vf negative_infinity() { return set1(-__builtin_inff()); }

}  // namespace
