// Elementwise operations and the sum of squares. All of them run at the speed of memory.
//
// Does not: wake the pool for small arrays; one block runs on the calling thread.

namespace {

constexpr int64_t ELEMENTS_PER_BLOCK = 32768;

void fill(int64_t count, float value, float *out) {
  for_ranges(count, ELEMENTS_PER_BLOCK, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += W) store_some(out + i, set1(value), end - i);
  });
}

void add(int64_t count, const float *a, const float *b, float *out) {
  for_ranges(count, ELEMENTS_PER_BLOCK, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += W)
      store_some(out + i, load_some(a + i, end - i) + load_some(b + i, end - i), end - i);
  });
}

void scale(int64_t count, float factor, float *x) {
  for_ranges(count, ELEMENTS_PER_BLOCK, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += W) store_some(x + i, load_some(x + i, end - i) * set1(factor), end - i);
  });
}

// Sum over one block in double precision: W lanes in fixed order, then the lanes in order.
double sum_of_squares_block(int64_t count, const float *x) {
  constexpr int HALF = W / 2;
  vd even = {}, odd = {};
  int64_t i = 0;
  for (; i + W <= count; i += W) {
    const vd a = __builtin_convertvector(*(const half_vf *)(x + i), vd);
    const vd b = __builtin_convertvector(*(const half_vf *)(x + i + HALF), vd);
    even += a * a;
    odd += b * b;
  }
  double sum = 0;
  for (int lane = 0; lane < HALF; lane++) sum += even[lane] + odd[lane];
  for (; i < count; i++) sum += double(x[i]) * x[i];
  return sum;
}

double sum_of_squares(int64_t count, const float *x) {
  if (count <= 0) return 0;
  constexpr int64_t size = 4096, blocks_per_task = 8;
  const int64_t blocks = ceil_div(count, size);
  double *sums = (double *)belay_scratch(SCRATCH_PARTIALS, size_t(blocks) * sizeof(double));
  for_ranges(blocks, blocks_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; block++)
      sums[block] = sum_of_squares_block(smaller(size, count - block * size), x + block * size);
  });
  for (int64_t width = 1; width < blocks; width *= 2)  // neighbours, then pairs of pairs, ...
    for (int64_t i = 0; i + width < blocks; i += 2 * width) sums[i] += sums[i + width];
  return sums[0];
}

void to_bf16(int64_t count, const float *x, uint16_t *out) {
  for_ranges(count, ELEMENTS_PER_BLOCK, [&](int64_t begin, int64_t end) {
    int64_t i = begin;
    for (; i + W <= end; i += W) store_bf16_bits(out + i, bf16_bits(load(x + i)));
    if (i == end) return;
    uint16_t last[W];
    store_bf16_bits(last, bf16_bits(load_part(x + i, end - i)));
    for (int64_t lane = 0; i + lane < end; lane++) out[i + lane] = last[lane];
  });
}

void from_bf16(int64_t count, const uint16_t *x, float *out) {
  for_ranges(count, ELEMENTS_PER_BLOCK, [&](int64_t begin, int64_t end) {
    int64_t i = begin;
    for (; i + W <= end; i += W) store(out + i, (vf)(load_bf16_bits(x + i) << 16));
    for (; i < end; i++) {
      const uint32_t bits = uint32_t(x[i]) << 16;
      memcpy(out + i, &bits, sizeof bits);
    }
  });
}

}  // namespace
