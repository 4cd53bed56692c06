// The xIELU activation (Huang, 2024) with its two learned scalars, forward and backward.
//
// x > 0: p x^2 + beta x; else n (expm1(min(x, eps)) - x) + beta x, with p = softplus(alpha_p) and
// n = beta + softplus(alpha_n). Reads and writes each element once; the sums for the two scalars are kept per block
// and added in block order.
//
// Does not: keep anything between forward and backward; exp is computed again, which is cheaper than storing it.

namespace {

constexpr int64_t XIELU_BLOCK = 16384;

inline double softplus(double x) { return x > 0 ? x + log1p(::exp(-x)) : log1p(::exp(x)); }
inline double sigmoid(double x) { return 1.0 / (1.0 + ::exp(-x)); }

void xielu(int64_t count, const float *x, const float *alpha_p, const float *alpha_n, float beta, float eps,
           float *out) {
  const vf p = set1(float(softplus(*alpha_p))), n = set1(float(beta + softplus(*alpha_n))), b = set1(beta);
  for_ranges(count, XIELU_BLOCK, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += W) {
      const vf v = load_some(x + i, end - i);
      const vf above = v * fma(p, v, b);
      const vf below = fma(n, expm1_of_nonpositive(at_most(v, set1(eps))) - v, b * v);
      store_some(out + i, select(less(vf{}, v), above, below), end - i);
    }
  });
}

void xielu_backward(int64_t count, const float *x, const float *alpha_p, const float *alpha_n, float beta, float eps,
                    const float *dout, float *dx, float *dalpha_p, float *dalpha_n) {
  if (count <= 0) return;
  const vf p2 = set1(float(2 * softplus(*alpha_p))), n = set1(float(beta + softplus(*alpha_n))), b = set1(beta);
  const int64_t blocks = ceil_div(count, XIELU_BLOCK);
  float *partials = scratch_floats(SCRATCH_PARTIALS, 2 * blocks);  // [blocks, 2]: d p, d n
  for_blocks(blocks, [&](int64_t block) {
    const int64_t begin = block * XIELU_BLOCK, end = smaller(count, begin + XIELU_BLOCK);
    vf dp = {}, dn = {};
    for (int64_t i = begin; i < end; i += W) {
      const vf v = load_some(x + i, end - i), d = load_some(dout + i, end - i);
      const vm positive = less(vf{}, v);
      const vf inner = expm1_of_nonpositive(at_most(v, set1(eps)));
      // d/dx of expm1(min(x, eps)) - x is expm1(x), or -1 where the minimum holds eps.
      const vf slope_below = fma(n, select(less(set1(eps), v), set1(-1.0f), inner), b);
      dp += select(positive, d * v * v, vf{});
      dn += select(positive, vf{}, d * (inner - v));
      store_some(dx + i, d * select(positive, fma(p2, v, b), slope_below), end - i);
    }
    partials[2 * block] = sum_lanes(dp);
    partials[2 * block + 1] = sum_lanes(dn);
  });
  double dp = 0, dn = 0;
  for (int64_t block = 0; block < blocks; block++) {
    dp += partials[2 * block];
    dn += partials[2 * block + 1];
  }
  *dalpha_p += float(dp * sigmoid(*alpha_p));
  *dalpha_n += float(dn * sigmoid(*alpha_n));
}

}  // namespace
