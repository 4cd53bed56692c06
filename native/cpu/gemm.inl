// C = op(A) op(B): the packed product that carries most of a training step.
//
// B is packed once, by all threads; then each block of C (some panels of A by some panels of B) is one unit of work
// whose thread packs its part of A into its own second-level cache. The sum over k runs in blocks of equal size in
// fixed order, so an element's bits do not depend on how C was cut.
//
// Floor: 2MNK operations at the multiply-add peak; packing adds about 0.4 cycles per element of A (used N/NR times)
// and of B (used M/MR times).
//
// Does not: scale or add a bias. Few rows against a weight stored [N,K] (decoding) never pack; see `few_rows`.

namespace {

// Units of k per block: the B panel (NR wide) of a block and one A panel stay near the first-level cache.
constexpr int64_t K_BLOCK_UNITS = 512;
// Floats of packed B at once: 4 MiB stay in the third-level cache between being packed and being used.
constexpr int64_t PACKED_B_LIMIT = 1 << 20;
// Panels of A per block of C: 8 * MR rows * 512 units is a quarter of a megabyte of second-level cache.
constexpr int64_t PANELS_PER_BLOCK = 8;
// Rows up to which reading B once from memory outweighs everything else.
constexpr int64_t FEW_ROWS = 8;

// Multiply-adds below which a product stays on the calling thread.
constexpr int64_t TINY = 1 << 18;

struct Matrix {
  const float *data;
  int64_t ld;
  bool k_contiguous;  // element (r, k) at data[r * ld + k], otherwise data[k * ld + r]
  const float *at(int64_t r, int64_t k) const { return k_contiguous ? data + r * ld + k : data + k * ld + r; }
};

// How k is cut: equal blocks of whole pairs.
template <class Format>
struct Reduction {
  int64_t K, size, count;
  explicit Reduction(int64_t k) : K(k) {
    const int64_t limit = K_BLOCK_UNITS * Format::STEP;
    size = round_up(ceil_div(K, ceil_div(K, limit)), 2);
    count = ceil_div(K, size);
  }
  int64_t length(int64_t block) const { return smaller(size, K - block * size); }
  int64_t units_before(int64_t block) const { return block * units<Format>(size); }
  int64_t total_units() const { return units_before(count - 1) + units<Format>(length(count - 1)); }
};

// B columns [first, first + n) for all k: k block by k block, panels of NR columns inside.
template <class Format>
void pack_b(float *packed, const Reduction<Format> &cut, const Matrix &B, int64_t first, int64_t n) {
  const int64_t panels = ceil_div(n, NR);
  const int64_t group = larger(1, 32768 / (NR * cut.size));  // panels handed out at once
  const int64_t groups = ceil_div(panels, group);
  for_blocks(groups * cut.count, [&](int64_t task) {
    const int64_t block = task / groups, panel = task % groups * group;
    const int64_t columns = smaller(group * NR, n - panel * NR), length = cut.length(block);
    float *out = packed + (cut.units_before(block) * panels + panel * units<Format>(length)) * NR;
    // The surplus of a last, narrow panel stays inside it: panels of B are whole multiples of W wide.
    pack_panels<Format>(out, NR, B.k_contiguous, B.at(first + panel * NR, block * cut.size), B.ld, columns, length);
  });
}

// Rows [row, row + rows) by panels [panel, panel_end) of packed B; C points at the first column of packed B.
template <class Format>
void multiply_block(const Reduction<Format> &cut, const Matrix &A, int64_t row, int64_t rows, const float *packed,
                    int64_t n, int64_t panel, int64_t panel_end, bool accumulate, float *C, int64_t ldc) {
  const int64_t panels = ceil_div(n, NR);
  float *a = scratch_floats(SCRATCH_PACKED_A, packed_size(rows, MR, units<Format>(cut.size)));
  for (int64_t block = 0; block < cut.count; block++) {
    const int64_t length = cut.length(block), count = units<Format>(length);
    pack_panels<Format>(a, MR, A.k_contiguous, A.at(row, block * cut.size), A.ld, rows, length);
    const float *b = packed + cut.units_before(block) * panels * NR;
    for (int64_t p = panel; p < panel_end; p++)
      for (int64_t i = 0; i < rows; i += MR)
        tile<Format>(smaller(MR, rows - i), count, a + i * count, b + p * NR * count, C + (row + i) * ldc + p * NR,
                     ldc, smaller(NR, n - p * NR), accumulate || block > 0);
  }
}

template <class Format>
void gemm_packed(const Matrix &A, const Matrix &B, int64_t M, int64_t N, int64_t K, bool accumulate, float *C,
                 int64_t ldc) {
  const Reduction<Format> cut(K);
  const int64_t columns_at_once = larger(NR, PACKED_B_LIMIT / cut.total_units() / NR * NR);
  for (int64_t first = 0; first < N; first += columns_at_once) {
    const int64_t n = smaller(columns_at_once, N - first), panels = ceil_div(n, NR);
    float *packed = scratch_floats(SCRATCH_PACKED_B, packed_size(n, NR, cut.total_units()));
    pack_b<Format>(packed, cut, B, first, n);

    // How C is cut never changes a bit of it, so this may look at the number of threads. Blocks shrink towards the
    // end, so that the threads finish together.
    const int64_t threads = belay_threads(), row_panels = ceil_div(M, MR);
    const int64_t narrowest = row_panels > PANELS_PER_BLOCK ? 8 : 2;  // panels: narrower, and packing A again costs
    const int64_t wanted = ceil_div(6 * threads, ceil_div(row_panels, PANELS_PER_BLOCK));
    const int64_t column_blocks = larger(1, smaller(wanted, panels / narrowest));
    int64_t *starts = (int64_t *)belay_scratch(SCRATCH_BLOCKS, size_t(row_panels + 1) * sizeof(int64_t));
    if (M * N * K <= TINY) {  // a few microseconds: waking a thread costs as much
      multiply_block<Format>(cut, A, 0, M, packed, n, 0, panels, accumulate, C + first, ldc);
      continue;
    }
    int64_t row_blocks = 0;
    for (int64_t done = 0; done < row_panels; row_blocks++) {
      starts[row_blocks] = done;
      const int64_t fair = ceil_div((row_panels - done) * column_blocks, 3 * threads);
      done += smaller(row_panels - done, larger(1, smaller(fair, PANELS_PER_BLOCK)));
    }
    starts[row_blocks] = row_panels;

    for_blocks(row_blocks * column_blocks, [&](int64_t task) {
      const int64_t i = task / column_blocks, j = task % column_blocks;
      const int64_t row = starts[i] * MR, row_end = smaller(M, starts[i + 1] * MR);
      multiply_block<Format>(cut, A, row, row_end - row, packed, n, j * panels / column_blocks,
                             (j + 1) * panels / column_blocks, accumulate, C + first, ldc);
    });
  }
}

// ROWS rows of A against rows [begin, end) of B [N,K]: one pass over B at the speed of memory. `a` holds the rows of A
// as units, `stride` units each, in the order in which B's units come from memory.
template <class Format, int ROWS>
void few_rows_block(int64_t begin, int64_t end, int64_t K, const float *a, int64_t stride, const float *B, int64_t ldb,
                    bool accumulate, float *C, int64_t ldc) {
  constexpr int AT_ONCE = ROWS <= 2 ? 4 : ROWS <= 4 || W == 16 ? 2 : 1;  // rows of B: independent sums, few spills
  constexpr int64_t chunk = W * Format::STEP;
  for (int64_t n = begin; n < end; n += AT_ONCE) {
    vf sum[ROWS][AT_ONCE] = {};
    const float *b[AT_ONCE];
    for (int j = 0; j < AT_ONCE; j++) b[j] = B + smaller(n + j, end - 1) * ldb;
    for (int64_t k = 0; k < K; k += chunk) {
      vf x[AT_ONCE];
#pragma GCC unroll 4
      for (int j = 0; j < AT_ONCE; j++) x[j] = units_of_row<Format>(b[j] + k, K - k);
#pragma GCC unroll 8
      for (int m = 0; m < ROWS; m++) {
        const vf y = load(a + m * stride + k / Format::STEP);
#pragma GCC unroll 4
        for (int j = 0; j < AT_ONCE; j++) sum[m][j] = Format::multiply(y, x[j], sum[m][j]);
      }
    }
    for (int m = 0; m < ROWS; m++)
      for (int j = 0; j < AT_ONCE && n + j < end; j++) {
        float *c = C + m * ldc + n + j;
        *c = accumulate ? *c + sum_lanes(sum[m][j]) : sum_lanes(sum[m][j]);
      }
  }
}

template <class Format, int ROWS = FEW_ROWS>
void few_rows_dispatch(int64_t M, int64_t begin, int64_t end, int64_t K, const float *a, int64_t stride,
                       const float *B, int64_t ldb, bool accumulate, float *C, int64_t ldc) {
  if constexpr (ROWS > 1) {
    if (M != ROWS)
      return few_rows_dispatch<Format, ROWS - 1>(M, begin, end, K, a, stride, B, ldb, accumulate, C, ldc);
  }
  few_rows_block<Format, ROWS>(begin, end, K, a, stride, B, ldb, accumulate, C, ldc);
}

template <class Format>
void few_rows(int64_t M, int64_t N, int64_t K, const float *A, int64_t lda, const float *B, int64_t ldb,
              bool accumulate, float *C, int64_t ldc) {
  constexpr int64_t chunk = W * Format::STEP;
  const int64_t stride = ceil_div(K, chunk) * W;
  float *a = scratch_floats(SCRATCH_ROWS, M * stride);
  for (int64_t m = 0; m < M; m++)
    for (int64_t k = 0; k < K; k += chunk)
      store(a + m * stride + k / Format::STEP, units_of_row<Format>(A + m * lda + k, K - k));
  for_ranges(N, round_up(ceil_div(32768, K), 4), [&](int64_t begin, int64_t end) {
    few_rows_dispatch<Format>(M, begin, end, K, a, stride, B, ldb, accumulate, C, ldc);
  });
}

void gemm(int compute, int transA, int transB, int64_t M, int64_t N, int64_t K, const float *A, int64_t lda,
          const float *B, int64_t ldb, int accumulate, float *C, int64_t ldc) {
  if (M <= 0 || N <= 0) return;
  if (K <= 0) {
    if (!accumulate)
      for (int64_t m = 0; m < M; m++) memset(C + m * ldc, 0, size_t(N) * sizeof(float));
    return;
  }
  const bool bf16 = compute == BELAY_BF16;
  if (M <= FEW_ROWS && !transA && transB)
    return bf16 ? few_rows<Bf16>(M, N, K, A, lda, B, ldb, accumulate, C, ldc)
                : few_rows<Plain>(M, N, K, A, lda, B, ldb, accumulate, C, ldc);
  const Matrix a{A, lda, !transA}, b{B, ldb, transB != 0};
  return bf16 ? gemm_packed<Bf16>(a, b, M, N, K, accumulate, C, ldc)
              : gemm_packed<Plain>(a, b, M, N, K, accumulate, C, ldc);
}

}  // namespace
