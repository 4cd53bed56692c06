// Attention backward: recomputes the probabilities from the saved log-sum-exp, tile by tile.
//
// One block of work owns a batch row, a key/value head and a share of its key tiles. For a tile of keys it walks the
// query tiles of all heads of the group:
//   S = Q K^T, dP = dO V^T, P = exp(scale S - lse), dS = scale P (dP - delta), delta = sum(dO * O) per query,
//   dV^T += dO^T P, dK^T += Q^T dS, dQ += dS K.
// Keys are vector lanes, so P and dS are already packed right operands of the sums over queries; only dS is
// transposed once, for dQ. When heads and batch are few, key tiles are dealt out to several blocks, each adding into
// its own copy of dQ, and the copies are added in order.
//
// Floor: 10 hd operations per visible (query, key, head).
//
// Does not: hide NaN or infinity in rows that share a tile with a query's range but lie outside it.

namespace {

constexpr int64_t BACKWARD_KEYS = 4 * NR;                       // keys per tile
constexpr int64_t BACKWARD_ROWS = (W == 16 ? 4 : 8) * MR;       // queries per tile: whole panels, even
constexpr int64_t BACKWARD_BLOCKS = 16;                         // blocks of work to aim for

struct AttentionBackward {
  int64_t B, T, H, K, hd;
  float scale;
  const float *q, *k, *v;
  int64_t ldq, ldk, ldv;
  const int32_t *lo, *hi;
  const float *out, *lse, *dout;
  float *dq, *dk, *dv;
  int64_t lddv;
  const float *delta;  // [N, H]
  int64_t group() const { return H / K; }
};

// Scratch of one block, carved once.
template <class Format>
struct BackwardTile {
  int64_t hd_units, key_units, row_units;
  float *k, *v;          // right operands [key panels][units(hd)][NR]
  float *k_by_key;       // right operand of dQ [hd panels][units(keys)][NR]
  float *q, *dout;       // left operands [row panels][units(hd)][MR]
  float *q_by_row, *dout_by_row;  // left operands of dK^T, dV^T [hd panels][units(rows)][MR]
  float *p, *ds;         // [key panels][rows][NR] scores, then right operands [key panels][units(rows)][NR]
  float *ds_plain;       // [rows][keys]
  float *ds_by_row;      // left operand of dQ, one panel [units(keys)][MR]
  float *dk, *dv;        // dK^T, dV^T [hd][keys]

  explicit BackwardTile(int64_t hd) {
    constexpr int64_t keys = BACKWARD_KEYS, rows = BACKWARD_ROWS;
    hd_units = units<Format>(hd);
    key_units = units<Format>(keys);
    row_units = units<Format>(rows);
    const int64_t wide = packed_size(keys, NR, hd_units), by_key = packed_size(hd, NR, key_units);
    const int64_t tall = packed_size(rows, MR, hd_units), by_row = packed_size(hd, MR, row_units);
    const int64_t scores = rows * keys, ds_packed = packed_size(MR, MR, key_units), sums = hd * keys;
    const int64_t slack = 16 * 14;
    Carver carver{scratch_floats(
        SCRATCH_TILE, 2 * wide + by_key + 2 * tall + 2 * by_row + 3 * scores + ds_packed + 2 * sums + slack)};
    k = carver.take(wide), v = carver.take(wide), k_by_key = carver.take(by_key);
    q = carver.take(tall), dout = carver.take(tall);
    q_by_row = carver.take(by_row), dout_by_row = carver.take(by_row);
    p = carver.take(scores), ds = carver.take(scores), ds_plain = carver.take(scores);
    ds_by_row = carver.take(ds_packed), dk = carver.take(sums), dv = carver.take(sums);
  }
};

// P and dS of `rows` queries and one panel of NR keys, from S and dP; left as packed units, dS also as floats.
template <class Format>
void probabilities(const AttentionBackward &call, int64_t row, int64_t rows, int64_t head, int64_t first_key,
                   bool masked, float *p, float *ds, float *ds_plain) {
  const vf factor = set1(call.scale);
  for (int side = 0; side < 2; side++) {
    const vi key = lane_index() + set1i(int32_t(first_key + side * W));
    for (int64_t i = 0; i < rows; i += Format::STEP) {
      vf probability[2] = {}, gradient[2] = {};
#pragma GCC unroll 2
      for (int64_t e = 0; e < Format::STEP; e++) {
        if (i + e >= rows) continue;
        const int64_t n = row + i + e, at = (i + e) * NR + side * W;
        vf x = exp(fma(load(p + at), factor, set1(-call.lse[n * call.H + head])));
        vf dx = x * (load(ds + at) - set1(call.delta[n * call.H + head])) * factor;
        if (masked) {
          const vm visible = both(lessi(set1i(call.lo[n] - 1), key), lessi(key, set1i(call.hi[n])));
          x = select(visible, x, vf{});
          dx = select(visible, dx, vf{});
        }
        probability[e] = x;
        gradient[e] = dx;
        store(ds_plain + (i + e) * BACKWARD_KEYS + side * W, gradient[e]);
      }
      const int64_t to = i / Format::STEP * NR + side * W;
      store(p + to, Format::unit(probability[0], probability[1]));
      store(ds + to, Format::unit(gradient[0], gradient[1]));
    }
  }
}

// to[j * ld + d] = from[d][j] for `keys` keys; from [hd][BACKWARD_KEYS].
inline void store_transposed(const float *from, int64_t hd, int64_t keys, float *to, int64_t ld) {
  for (int64_t j = 0; j < keys; j += W)
    for (int64_t d = 0; d < hd; d += W) {
      vf block[W];
#pragma GCC unroll 16
      for (int64_t e = 0; e < W; e++) block[e] = d + e < hd ? load(from + (d + e) * BACKWARD_KEYS + j) : vf{};
      transpose(block);
#pragma GCC unroll 16
      for (int64_t e = 0; e < W; e++)
        if (j + e < keys) store_some(to + (j + e) * ld + d, block[e], hd - d);
    }
}

// Everything that queries [row, row + rows) of one head and the packed keys [first, first + keys) give each other.
template <class Format>
void backward_pair(const AttentionBackward &call, const BackwardTile<Format> &tile, int64_t row, int64_t rows,
                   int64_t head, int64_t first, int64_t keys, float *dq) {
  const int64_t hd = call.hd, hd_units = tile.hd_units, row_units = units<Format>(rows), width = call.H * hd;
  const float *q = call.q + row * call.ldq + head * hd, *dout = call.dout + row * width + head * hd;
  pack_panels<Format>(tile.q, MR, true, q, call.ldq, rows, hd);
  pack_panels<Format>(tile.dout, MR, true, dout, width, rows, hd);
  pack_panels<Format>(tile.q_by_row, MR, false, q, call.ldq, hd, rows);
  pack_panels<Format>(tile.dout_by_row, MR, false, dout, width, hd, rows);

  // What each panel of rows sees together, so that invisible corners (half of a causal tile) cost nothing.
  Range seen[BACKWARD_ROWS / MR];
  Range common{0, INT64_MAX};
  for (int64_t i = 0; i < rows; i += MR)
    seen[i / MR] = range_of_rows(call.lo, call.hi, row + i, row + smaller(rows, i + MR));
  for (int64_t i = row; i < row + rows; i++) {
    common.lo = larger(common.lo, call.lo[i]);
    common.hi = smaller(common.hi, call.hi[i]);
  }
  for (int64_t j = 0; j < keys; j += NR) {
    int64_t from = rows, to = 0;  // the rows that may see this panel of keys
    for (int64_t i = 0; i < rows; i += MR) {
      if (!seen[i / MR].touches(first + j, first + j + NR)) continue;
      from = smaller(from, i);
      to = smaller(rows, i + MR);
    }
    if (from >= to) continue;
    float *p = tile.p + j * BACKWARD_ROWS, *ds = tile.ds + j * BACKWARD_ROWS;
    for (int64_t i = from; i < to; i += MR) {
      const int64_t height = smaller(MR, to - i);
      ::tile<Format>(height, hd_units, tile.q + i * hd_units, tile.k + j * hd_units, p + i * NR, NR, NR, false);
      ::tile<Format>(height, hd_units, tile.dout + i * hd_units, tile.v + j * hd_units, ds + i * NR, NR, NR, false);
    }
    const bool masked = common.lo > first + j || common.hi < first + j + NR;
    probabilities<Format>(call, row + from, to - from, head, first + j, masked, p + from * NR, ds + from * NR,
                          tile.ds_plain + from * BACKWARD_KEYS + j);
    const int64_t count = units<Format>(to - from), skipped = from / Format::STEP * MR;
    for (int64_t d = 0; d < hd; d += MR) {
      const int64_t height = smaller(MR, hd - d);
      ::tile<Format>(height, count, tile.dout_by_row + d * row_units + skipped, p + from * NR,
                     tile.dv + d * BACKWARD_KEYS + j, BACKWARD_KEYS, NR, true);
      ::tile<Format>(height, count, tile.q_by_row + d * row_units + skipped, ds + from * NR,
                     tile.dk + d * BACKWARD_KEYS + j, BACKWARD_KEYS, NR, true);
    }
  }
  for (int64_t i = 0; i < rows; i += MR) {
    const int64_t begin = larger(0, seen[i / MR].lo - first) / NR * NR;
    const int64_t end = smaller(keys, seen[i / MR].hi - first), height = smaller(MR, rows - i);
    if (begin >= end) continue;
    pack_transposed<Format>(tile.ds_by_row, MR, tile.ds_plain + i * BACKWARD_KEYS + begin, BACKWARD_KEYS, height,
                            end - begin);
    for (int64_t d = 0; d < hd; d += NR)
      ::tile<Format>(height, units<Format>(end - begin), tile.ds_by_row,
                     tile.k_by_key + d * units<Format>(keys) + begin / Format::STEP * NR,
                     dq + (row + i) * width + head * hd + d, width, smaller(NR, hd - d), true);
  }
}

// The key tiles share, share + shares, ... of batch row b. `dq` [N, H*hd] receives this block's part.
template <class Format>
void backward_block(const AttentionBackward &call, int64_t b, int64_t kv_head, int64_t share, int64_t shares,
                    float *dq) {
  const int64_t hd = call.hd, begin = b * call.T, end = begin + call.T;
  const BackwardTile<Format> tile(hd);
  for (int64_t n = begin; n < end; n++)
    memset(dq + (n * call.H + kv_head * call.group()) * hd, 0, size_t(call.group() * hd) * sizeof(float));
  for (int64_t first = begin + share * BACKWARD_KEYS; first < end; first += shares * BACKWARD_KEYS) {
    const int64_t keys = smaller(BACKWARD_KEYS, end - first);
    const float *k = call.k + first * call.ldk + kv_head * hd, *v = call.v + first * call.ldv + kv_head * hd;
    pack_panels<Format>(tile.k, NR, true, k, call.ldk, keys, hd);
    pack_panels<Format>(tile.v, NR, true, v, call.ldv, keys, hd);
    pack_panels<Format>(tile.k_by_key, NR, false, k, call.ldk, hd, keys);
    memset(tile.dk, 0, size_t(hd * BACKWARD_KEYS) * sizeof(float));
    memset(tile.dv, 0, size_t(hd * BACKWARD_KEYS) * sizeof(float));
    for (int64_t row = begin; row < end; row += BACKWARD_ROWS) {
      const int64_t rows = smaller(BACKWARD_ROWS, end - row);
      const Range range = range_of_rows(call.lo, call.hi, row, row + rows);
      if (!range.touches(first, first + keys)) continue;
      for (int64_t g = 0; g < call.group(); g++)
        backward_pair<Format>(call, tile, row, rows, kv_head * call.group() + g, first, keys, dq);
    }
    store_transposed(tile.dk, hd, keys, call.dk + (first * call.K + kv_head) * hd, call.K * hd);
    store_transposed(tile.dv, hd, keys, call.dv + first * call.lddv + kv_head * hd, call.lddv);
  }
}

template <class Format>
void backward_any(AttentionBackward call) {
  const int64_t N = call.B * call.T, width = call.H * call.hd, key_tiles = ceil_div(call.T, BACKWARD_KEYS);
  const int64_t shares = larger(1, smaller(BACKWARD_BLOCKS / (call.B * call.K), key_tiles / 2));
  float *delta = scratch_floats(SCRATCH_ROWS, N * call.H);
  call.delta = delta;
  for_ranges(N, rows_per_block(width), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * call.H; i < end * call.H; i++) {
      vf dot = {};
      for (int64_t d = 0; d < call.hd; d += W)
        dot = fma(load_some(call.dout + i * call.hd + d, call.hd - d),
                  load_some(call.out + i * call.hd + d, call.hd - d), dot);
      delta[i] = sum_lanes(dot);
    }
  });
  float *copies = shares > 1 ? scratch_floats(SCRATCH_PARTIALS, (shares - 1) * N * width) : nullptr;
  for_blocks(call.B * call.K * shares, [&](int64_t task) {
    const int64_t share = task / (call.B * call.K), unit = task % (call.B * call.K);
    backward_block<Format>(call, unit / call.K, unit % call.K, share, shares,
                           share ? copies + (share - 1) * N * width : call.dq);
  });
  if (shares > 1) add_partials(shares - 1, N * width, copies, call.dq);
}

void attention_backward(int compute, int64_t B, int64_t T, int64_t H, int64_t K, int64_t hd, float scale,
                        const float *q, int64_t ldq, const float *k, int64_t ldk, const float *v, int64_t ldv,
                        const int32_t *lo, const int32_t *hi, const float *out, const float *lse, const float *dout,
                        float *dq, float *dk, float *dv, int64_t lddv) {
  if (B <= 0 || T <= 0 || H <= 0) return;
  const AttentionBackward call{B,  T,  H,   K,   hd,   scale, q,  k,  v,    ldq,    ldk, ldv,
                               lo, hi, out, lse, dout, dq,    dk, dv, lddv, nullptr};
  if (compute == BELAY_BF16)
    backward_any<Bf16>(call);
  else
    backward_any<Plain>(call);
}

}  // namespace
