// Packed panels and the register tile: what every matrix product here is made of.
//
// A product is a sum over k of columns of A times rows of B. A is packed into panels of MR rows, B into panels of
// NR columns, both with k outermost, so that the tile reads one short contiguous run of each per step:
//   A panel [units][MR], B panel [units][NR], tile of C [MR][NR] held in registers.
// A unit is 32 bits: one float, or two bfloat16 values of neighbouring k where the processor multiplies those in
// pairs. The three formats hide the difference.
//
// Per unit a tile issues MR*2 multiply-adds, 2 loads of B and MR broadcasts of A, which keeps the multipliers busy on
// machines with two loads per cycle.
//
// Does not: know about blocks, threads or strides of the whole product; see gemm.inl.

namespace {

constexpr int NR = 2 * W;

// float32 as it is.
struct Plain {
  static constexpr int STEP = 1;  // values of k per unit
  static vf unit(vf k0, vf) { return k0; }
  static vf multiply(vf a, vf b, vf c) { return fma(a, b, c); }
};

// Rounded to bfloat16 while packing, multiplied as float32: bfloat16 semantics on any processor.
struct Rounded {
  static constexpr int STEP = 1;
  static vf unit(vf k0, vf) { return round_to_bf16(k0); }
  static vf multiply(vf a, vf b, vf c) { return fma(a, b, c); }
};

#if defined(__AVX512BF16__)
// Pairs of bfloat16 for VDPBF16PS, which flushes denormals and adds both products to the float32 sum.
struct Paired {
  static constexpr int STEP = 2;
  // One unit per lane from two rows of neighbouring k.
  static vf unit(vf k0, vf k1) {
    const __m512i both_rows = (__m512i)_mm512_cvtne2ps_pbh(k1, k0);  // 16 values of k0, then 16 of k1
    static const uint16_t interleave[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                            8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return (vf)_mm512_permutexvar_epi16(_mm512_loadu_si512(interleave), both_rows);
  }
  // W units from 2W neighbouring k of one row.
  static vf units_of_row(vf first, vf second) { return (vf)_mm512_cvtne2ps_pbh(second, first); }
  static vf multiply(vf a, vf b, vf c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
};
typedef Paired Bf16;
#else
typedef Rounded Bf16;
#endif

template <class Format>
inline int64_t units(int64_t k) {
  return (k + Format::STEP - 1) / Format::STEP;
}

// How many rows ahead a packing loop asks for memory: strides of a page or more defeat the processor's own guess.
constexpr int64_t PREFETCH_ROWS = 48;

// --- packing -------------------------------------------------------------------------------------------------

// W units of one row from neighbouring k, `left` values remaining.
template <class Format>
inline __attribute__((always_inline)) vf units_of_row(const float *p, int64_t left) {
#if defined(__AVX512BF16__)
  if constexpr (Format::STEP == 2) {
    const vf second = left > W ? load_some(p + W, left - W) : vf{};
    return Format::units_of_row(load_some(p, left), second);
  }
#endif
  return Format::unit(load_some(p, left), vf{});
}

// Up to W rows whose k are neighbours in memory: W x W transposes. A store writes W lanes even where fewer rows
// are wanted; panels are filled upwards, so the next store or the next panel overwrites the surplus.
template <class Format>
inline __attribute__((always_inline)) void pack_transposed_group(float *out, int64_t stride, const float *source,
                                                                 int64_t ld, int rows, int64_t K) {
  constexpr int64_t chunk = W * Format::STEP;
  int64_t k = 0;
  for (; k + chunk <= K; k += chunk) {
    vf r[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; i++)  // the next group's rows
      for (int e = 0; e < Format::STEP; e++) __builtin_prefetch(source + (i + rows) * ld + k + e * W, 0, 2);
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) r[i] = i < rows ? units_of_row<Format>(source + i * ld + k, chunk) : vf{};
    transpose(r);
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) store(out + i * stride, r[i]);
    out += W * stride;
  }
  if (k == K) return;
  vf r[W];
  for (int i = 0; i < W; i++) r[i] = i < rows ? units_of_row<Format>(source + i * ld + k, K - k) : vf{};
  transpose(r);
  for (int i = 0; i < units<Format>(K - k); i++) store(out + i * stride, r[i]);
}

// source[r * ld + k] -> out[unit(k) * stride + r] for `rows` <= stride; rows up to the next multiple of W are zero.
template <class Format>
inline void pack_transposed(float *out, int64_t stride, const float *source, int64_t ld, int64_t rows, int64_t K) {
  for (int64_t r = 0; r < rows; r += W) {
    const int group = int(smaller(W, rows - r));
    const float *from = source + r * ld;
    if (group == W)
      pack_transposed_group<Format>(out + r, stride, from, ld, W, K);
    else if (MR < W && group == MR)
      pack_transposed_group<Format>(out + r, stride, from, ld, MR, K);
    else
      pack_transposed_group<Format>(out + r, stride, from, ld, group, K);
  }
}

// source[k * ld + r] -> PANELS panels of `height`, all but the last of them full. Each row of the source is read as
// one run: a row often starts a multiple of 4 KiB after the one before, and coming back to it for the next panel
// would find its lines evicted, since they all fall into the same few cache sets.
template <class Format, int PANELS>
inline __attribute__((always_inline)) void pack_straight_group(float *out, int64_t height, const float *source,
                                                               int64_t ld, int64_t rows, int64_t K) {
  const int64_t panel = height * units<Format>(K);
  for (int64_t k = 0; k < K; k += Format::STEP, out += height, source += Format::STEP * ld) {
    const float *next = k + Format::STEP <= K ? source + (Format::STEP - 1) * ld : nullptr;  // the pair's other half
#pragma GCC unroll 4
    for (int p = 0; p < PANELS; p++)
      for (int64_t r = 0; r < height; r += W) {
        const int64_t at = p * height + r, left = smaller(height - r, p == PANELS - 1 ? rows - at : height - r);
        if (left <= 0) break;
        for (int e = 0; e < Format::STEP; e++) __builtin_prefetch(source + (PREFETCH_ROWS + e) * ld + at, 0, 2);
        const vf other = Format::STEP == 2 && next ? load_some(next + at, left) : vf{};
        const vf packed = Format::unit(load_some(source + at, left), other);
        if (k + Format::STEP < K)
          store(out + p * panel + r, packed);  // surplus lanes fall into the next unit, which comes next
        else
          store_some(out + p * panel + r, packed, height - r);
      }
  }
}

template <class Format, int PANELS = 4>
inline void pack_straight_panels(int64_t panels, float *out, int64_t height, const float *source, int64_t ld,
                                 int64_t rows, int64_t K) {
  if constexpr (PANELS > 1) {
    if (panels != PANELS)
      return pack_straight_panels<Format, PANELS - 1>(panels, out, height, source, ld, rows, K);
  }
  pack_straight_group<Format, PANELS>(out, height, source, ld, rows, K);
}

// All panels, in equal groups of up to four.
template <class Format>
inline void pack_straight(float *out, int64_t height, const float *source, int64_t ld, int64_t rows, int64_t K) {
  const int64_t panels = ceil_div(rows, height), groups = ceil_div(panels, 4);
  for (int64_t group = 0; group < groups; group++) {
    const int64_t begin = group * panels / groups, end = (group + 1) * panels / groups, r = begin * height;
    pack_straight_panels<Format>(end - begin, out + r * units<Format>(K), height, source + r, ld,
                                 smaller(rows - r, (end - begin) * height), K);
  }
}

// Units of memory that `rows` rows (columns of B) packed in panels of `height` take, with room for the surplus.
inline int64_t packed_size(int64_t rows, int64_t height, int64_t unit_count) {
  return ceil_div(rows, height) * height * unit_count + W;
}

// All panels of an operand: panel p holds rows p*height .. and begins at out + p*height*units(K).
// k_contiguous: source[r * ld + k]; otherwise source[k * ld + r].
template <class Format>
inline void pack_panels(float *out, int64_t height, bool k_contiguous, const float *source, int64_t ld, int64_t rows,
                        int64_t K) {
  if (!k_contiguous) return pack_straight<Format>(out, height, source, ld, rows, K);
  for (int64_t r = 0; r < rows; r += height, out += height * units<Format>(K))
    pack_transposed<Format>(out, height, source + r * ld, ld, smaller(height, rows - r), K);
}

// --- the register tile -----------------------------------------------------------------------------------------

// C[R, columns] = or += A panel * B panel over `count` units; columns <= NR.
template <class Format, int R>
inline void tile_of_rows(int64_t count, const float *a, const float *b, float *C, int64_t ldc, int64_t columns,
                         bool accumulate) {
  vf left[R], right[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    left[r] = right[r] = vf{};
    __builtin_prefetch(C + r * ldc, 1);
    __builtin_prefetch(C + r * ldc + NR - 1, 1);
  }
  for (int64_t k = 0; k < count; k++, a += MR, b += NR) {
    const vf b0 = load(b), b1 = load(b + W);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const vf x = set1(a[r]);
      left[r] = Format::multiply(x, b0, left[r]);
      right[r] = Format::multiply(x, b1, right[r]);
    }
  }
  if (columns == NR) {
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      float *row = C + r * ldc;
      store(row, accumulate ? load(row) + left[r] : left[r]);
      store(row + W, accumulate ? load(row + W) + right[r] : right[r]);
    }
    return;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    float *row = C + r * ldc;
    store_some(row, accumulate ? load_some(row, columns) + left[r] : left[r], columns);
    if (columns > W)
      store_part(row + W, accumulate ? load_part(row + W, columns - W) + right[r] : right[r], columns - W);
  }
}

// The same for 1 <= rows <= MR known at run time.
template <class Format, int R = MR>
inline void tile(int64_t rows, int64_t count, const float *a, const float *b, float *C, int64_t ldc, int64_t columns,
                 bool accumulate) {
  if constexpr (R > 1) {
    if (rows != R) return tile<Format, R - 1>(rows, count, a, b, C, ldc, columns, accumulate);
  }
  tile_of_rows<Format, R>(count, a, b, C, ldc, columns, accumulate);
}

}  // namespace
