// Small helpers of every kernel: integer arithmetic, cutting work into blocks, loads at the ragged end of a row.
//
// Does not: decide block sizes; each kernel derives its own from its shapes.

namespace {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// body(block) for block = 0 .. blocks-1 on all threads.
template <class Body>
inline void for_blocks(int64_t blocks, const Body &body) {
  belay_pool_run(
      blocks, [](void *context, int64_t block) { (*(const Body *)context)(block); }, (void *)&body);
}

// body(begin, end) over [0, count) in blocks of `size`.
template <class Body>
inline void for_ranges(int64_t count, int64_t size, const Body &body) {
  for_blocks(ceil_div(count, size),
             [&](int64_t block) { body(block * size, smaller(count, (block + 1) * size)); });
}

inline float *scratch_floats(BelayScratch slot, int64_t count) {
  return (float *)belay_scratch(slot, size_t(count) * sizeof(float));
}

// Up to W lanes where `left` elements remain.
inline vf load_some(const float *p, int64_t left) { return left >= W ? load(p) : load_part(p, left); }
inline void store_some(float *p, vf x, int64_t left) {
  if (left >= W)
    store(p, x);
  else
    store_part(p, x, left);
}

// Rows per block so that a block holds about 16 thousand elements: long enough to outweigh handing it out,
// short enough for the first-level caches and for an even split.
inline int64_t rows_per_block(int64_t row_length) { return larger(1, 16384 / larger(1, row_length)); }

// total[column] += partials[0][column] + partials[1][column] + ..., in this order. partials [blocks, columns].
inline void add_partials(int64_t blocks, int64_t columns, const float *partials, float *total) {
  for_ranges(columns, larger(4 * W, 16384 / larger(1, blocks) / W * W), [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; j += W) {
      vf sum = {};
      for (int64_t block = 0; block < blocks; block++) sum += load_some(partials + block * columns + j, end - j);
      store_some(total + j, load_some(total + j, end - j) + sum, end - j);
    }
  });
}

}  // namespace
