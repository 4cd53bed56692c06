// Token embedding: gather rows, and scatter-add their gradients.
//
// The backward pass is cut by columns, so every thread walks the rows in order of n and each element of dweight
// receives its additions in that order whatever the number of threads.
//
// Does not: check ids.

namespace {

void embedding(int64_t N, int64_t D, const float *weight, const int32_t *ids, float *out) {
  for_ranges(N, rows_per_block(D), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; n++) memcpy(out + n * D, weight + ids[n] * D, size_t(D) * sizeof(float));
  });
}

void embedding_backward(int64_t N, int64_t D, const float *dout, const int32_t *ids, int32_t padding,
                        float *dweight) {
  if (N <= 0) return;
  // Four cache lines of columns are enough work per row; fewer columns still when there are few rows.
  const int64_t columns = N * D <= 32768 ? larger(D, 1) : 64;
  for_ranges(D, columns, [&](int64_t begin, int64_t end) {
    for (int64_t n = 0; n < N; n++) {
      if (ids[n] == padding) continue;
      float *to = dweight + ids[n] * D;
      const float *from = dout + n * D;
      for (int64_t j = begin; j < end; j += W)
        store_some(to + j, load_some(to + j, end - j) + load_some(from + j, end - j), end - j);
    }
  });
}

}  // namespace
