// Residual addition fused with RMSNorm, forward and backward.
//
// One pass over memory each: forward reads x and delta and writes sum and out; backward reads sum and dout and
// updates dsum (a row is read a second time from the first-level cache). Gradients of the weight go to one partial
// row per block and are added in block order.
//
// Does not: subtract a mean or add a bias.

namespace {

void add_rmsnorm(int64_t N, int64_t D, const float *x, const float *delta, const float *weight, float eps, float *sum,
                 float *out, float *rstd) {
  for_ranges(N, rows_per_block(D), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; n++) {
      const float *input = x + n * D;
      vf even = {}, odd = {};
      if (delta) {
        float *to = sum + n * D;
        for (int64_t j = 0; j < D; j += W) {
          const vf s = load_some(input + j, D - j) + load_some(delta + n * D + j, D - j);
          store_some(to + j, s, D - j);
          even = fma(s, s, even);
        }
        input = to;
      } else {
        int64_t j = 0;
        for (; j + 2 * W <= D; j += 2 * W) {
          const vf a = load(input + j), b = load(input + j + W);
          even = fma(a, a, even);
          odd = fma(b, b, odd);
        }
        for (; j < D; j += W) {
          const vf a = load_some(input + j, D - j);
          even = fma(a, a, even);
        }
      }
      const float r = 1.0f / __builtin_sqrtf(sum_lanes(even + odd) / float(D) + eps);
      rstd[n] = r;
      for (int64_t j = 0; j < D; j += W)
        store_some(out + n * D + j, load_some(input + j, D - j) * set1(r) * load_some(weight + j, D - j), D - j);
    }
  });
}

// With g = dout * weight: dsum += rstd * g - sum * rstd^3 * mean(g * sum); dweight += dout * sum * rstd.
void add_rmsnorm_backward(int64_t N, int64_t D, const float *sum, const float *weight, const float *rstd,
                          const float *dout, float *dsum, float *dweight) {
  if (N <= 0 || D <= 0) return;
  const int64_t rows = larger(32, rows_per_block(D)), blocks = ceil_div(N, rows);
  float *partials = scratch_floats(SCRATCH_PARTIALS, blocks * D);  // [blocks, D]
  for_blocks(blocks, [&](int64_t block) {
    float *partial = partials + block * D;
    memset(partial, 0, size_t(D) * sizeof(float));
    for (int64_t n = block * rows; n < smaller(N, (block + 1) * rows); n++) {
      const float *s = sum + n * D, *d = dout + n * D;
      float *ds = dsum + n * D;
      const vf r = set1(rstd[n]);
      vf dot = {};
      for (int64_t j = 0; j < D; j += W) {
        const int64_t left = D - j;
        const vf product = load_some(d + j, left) * load_some(s + j, left);
        dot = fma(product, load_some(weight + j, left), dot);
        store_some(partial + j, fma(product, r, load_some(partial + j, left)), left);
      }
      const vf c = set1(sum_lanes(dot) / float(D) * rstd[n] * rstd[n] * rstd[n]);
      for (int64_t j = 0; j < D; j += W) {
        const int64_t left = D - j;
        const vf g = load_some(d + j, left) * load_some(weight + j, left);
        const vf dx = fnma(load_some(s + j, left), c, g * r);
        store_some(ds + j, load_some(ds + j, left) + dx, left);
      }
    }
  });
  add_partials(blocks, D, partials, dweight);
}

}  // namespace
