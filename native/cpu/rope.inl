// RMS normalisation of each query and key head, then rotary positions (rotate-half), forward and backward.
//
// One pass over the q and k parts of qkv; a head (hd floats) stays in the first-level cache. Gradients of the two
// weights go to one partial row per block and are added in block order.
//
// Does not: touch v.

namespace {

inline void rope_head(int64_t hd, const float *x, const float *weight, float eps, const float *cosine,
                      const float *sine, float *out, float *rstd) {
  vf squares = {};
  for (int64_t j = 0; j < hd; j += W) {
    const vf a = load_some(x + j, hd - j);
    squares = fma(a, a, squares);
  }
  const float r = 1.0f / __builtin_sqrtf(sum_lanes(squares) / float(hd) + eps);
  *rstd = r;
  const int64_t half = hd / 2;
  for (int64_t j = 0; j < half; j += W) {
    const int64_t left = half - j;
    const vf c = load_some(cosine + j, left), s = load_some(sine + j, left);
    const vf a = load_some(x + j, left) * set1(r) * load_some(weight + j, left);
    const vf b = load_some(x + half + j, left) * set1(r) * load_some(weight + half + j, left);
    store_some(out + j, fnma(b, s, a * c), left);
    store_some(out + half + j, fma(a, s, b * c), left);
  }
}

void qk_norm_rope(int64_t N, int64_t H, int64_t K, int64_t hd, const float *qkv, const float *qweight,
                  const float *kweight, float eps, const float *cosine, const float *sine, const int32_t *positions,
                  float *q, float *k, float *rstd) {
  const int64_t half = hd / 2, width = (H + 2 * K) * hd;
  for_ranges(N, rows_per_block((H + K) * hd), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; n++) {
      const float *c = cosine + positions[n] * half, *s = sine + positions[n] * half;
      for (int64_t h = 0; h < H + K; h++) {
        const bool query = h < H;
        float *out = query ? q + (n * H + h) * hd : k + (n * K + h - H) * hd;
        rope_head(hd, qkv + n * width + h * hd, query ? qweight : kweight, eps, c, s, out, rstd + n * (H + K) + h);
      }
    }
  });
}

// dx of one head from dout; dweight += . `unrotated` [hd] holds the gradient from before the rotation.
inline void rope_head_backward(int64_t hd, const float *x, const float *weight, float rstd, const float *cosine,
                               const float *sine, const float *dout, float *unrotated, float *dx,
                               float *dweight) {
  const int64_t half = hd / 2;
  for (int64_t j = 0; j < half; j += W) {
    const int64_t left = half - j;
    const vf c = load_some(cosine + j, left), s = load_some(sine + j, left);
    const vf a = load_some(dout + j, left), b = load_some(dout + half + j, left);
    store_some(unrotated + j, fma(b, s, a * c), left);
    store_some(unrotated + half + j, fnma(a, s, b * c), left);
  }
  vf dot = {};
  for (int64_t j = 0; j < hd; j += W) {
    const int64_t left = hd - j;
    const vf d = load_some(unrotated + j, left), v = load_some(x + j, left);
    store_some(dweight + j, fma(d * v, set1(rstd), load_some(dweight + j, left)), left);
    const vf g = d * load_some(weight + j, left);
    store_some(unrotated + j, g, left);
    dot = fma(g, v, dot);
  }
  const vf c = set1(sum_lanes(dot) / float(hd) * rstd * rstd * rstd);
  for (int64_t j = 0; j < hd; j += W) {
    const int64_t left = hd - j;
    store_some(dx + j, fnma(load_some(x + j, left), c, load_some(unrotated + j, left) * set1(rstd)), left);
  }
}

void qk_norm_rope_backward(int64_t N, int64_t H, int64_t K, int64_t hd, const float *qkv, const float *qweight,
                           const float *kweight, const float *rstd, const float *cosine, const float *sine,
                           const int32_t *positions, const float *dq, const float *dk, float *dqkv, float *dqweight,
                           float *dkweight) {
  if (N <= 0 || hd <= 0) return;
  const int64_t half = hd / 2, width = (H + 2 * K) * hd;
  const int64_t rows = larger(32, rows_per_block((H + K) * hd)), blocks = ceil_div(N, rows);
  float *partials = scratch_floats(SCRATCH_PARTIALS, 2 * blocks * hd);  // [2, blocks, hd]: queries, then keys
  for_blocks(blocks, [&](int64_t block) {
    float *partial[2] = {partials + block * hd, partials + (blocks + block) * hd};
    float *unrotated = scratch_floats(SCRATCH_TILE, hd);
    for (float *one : partial) memset(one, 0, size_t(hd) * sizeof(float));
    for (int64_t n = block * rows; n < smaller(N, (block + 1) * rows); n++) {
      const float *c = cosine + positions[n] * half, *s = sine + positions[n] * half;
      for (int64_t h = 0; h < H + K; h++) {
        const bool query = h < H;
        const float *dout = query ? dq + (n * H + h) * hd : dk + (n * K + h - H) * hd;
        rope_head_backward(hd, qkv + n * width + h * hd, query ? qweight : kweight, rstd[n * (H + K) + h], c, s, dout,
                           unrotated, dqkv + n * width + h * hd, partial[query ? 0 : 1]);
      }
    }
  });
  add_partials(blocks, hd, partials, dqweight);
  add_partials(blocks, hd, partials + blocks * hd, dkweight);
}

}  // namespace
