// Attention forward: flash style, grouped queries, an arbitrary key range per query row.
//
// Work is cut into blocks of query rows by key/value head. A block packs each tile of keys and values once and
// passes it under all its query tiles (every query head of the group). Scores are computed transposed,
//   S^T [keys, NR queries] = K Q^T,
// so that queries are vector lanes: the running maximum and sum of the softmax need no sums across lanes, and the
// probabilities already have the layout of a packed right operand for  O^T [hd, queries] += V^T P^T.
//
// Decoding (few queries over long or disjoint ranges) goes row by row instead and reads each key once.
//
// Floor: 4 hd operations per visible (query, key, head); tiles without a visible pair are skipped.
//
// Does not: hide NaN or infinity in a value row that shares a tile with a query's range but lies outside it.

namespace {

// Keys per tile: packed keys and values of one head stay in the second-level cache, whole panels of MR, even.
constexpr int64_t KEY_TILE = 112 / MR * MR;
// Queries (rows * heads of a group) per block: packing a key costs as much as about 15 queries' use of it.
constexpr int64_t QUERIES_PER_BLOCK = 256;

// One call's arguments, handed down as one.
struct Attention {
  int64_t Nq, H, K, hd;
  float scale;
  const float *q, *k, *v;
  int64_t ldq, ldk, ldv;
  const int32_t *lo, *hi;
  float *out, *lse;
  int64_t group() const { return H / K; }
};

struct Range {
  int64_t lo, hi;  // empty where hi <= lo
  bool touches(int64_t begin, int64_t end) const { return lo < end && begin < hi; }
};

// The smallest range that holds those of rows [begin, end).
inline Range range_of_rows(const int32_t *lo, const int32_t *hi, int64_t begin, int64_t end) {
  Range all{INT64_MAX, 0};
  for (int64_t i = begin; i < end; i++) {
    if (lo[i] >= hi[i]) continue;
    all.lo = smaller(all.lo, lo[i]);
    all.hi = larger(all.hi, hi[i]);
  }
  if (all.hi <= all.lo) all.lo = all.hi = 0;
  return all;
}

// Scratch taken piece by piece; every piece starts on a cache line and takes `piece(count)` floats.
inline int64_t piece(int64_t count) { return round_up(count, 16); }
struct Carver {
  float *next;
  float *take(int64_t count) {
    float *taken = next;
    next += piece(count);
    return taken;
  }
};

// NR queries of one head in flight.
struct QueryTile {
  int64_t row, rows, head;
  Range range;         // of all its rows together
  Range common;        // keys that every row sees: no mask needed inside
  float *q;            // [units(hd)][NR]
  float *sum;          // O^T before the division, [hd][NR]
  float *maximum;      // [NR] of scale * score
  float *denominator;  // [NR]
  int32_t *lo, *hi;    // [NR], empty for lanes beyond `rows`
};

// Turns S^T rows [0, keys) into probabilities in place of units; updates the running softmax and rescales O^T.
// `first_key` is the key of row 0. masked: some lane does not see some of these keys.
template <class Format>
void softmax_tile(const QueryTile &tile, int64_t hd, float scale, float *scores, int64_t keys, int64_t first_key,
                  bool masked) {
  const vf nothing = negative_infinity();
  for (int side = 0; side < 2; side++) {
    float *column = scores + side * W;
    const vf old_maximum = load(tile.maximum + side * W);
    vf factor = set1(scale), maximum = old_maximum, other = old_maximum;
    if (masked) {  // leaves scaled scores behind
      vi lo, hi;
      memcpy(&lo, tile.lo + side * W, sizeof lo);
      memcpy(&hi, tile.hi + side * W, sizeof hi);
      for (int64_t j = 0; j < keys; j++) {
        const vi key = set1i(int32_t(first_key + j));
        const vm visible = both(lessi(lo - 1, key), lessi(key, hi));
        const vf s = select(visible, load(column + j * NR) * factor, nothing);
        store(column + j * NR, s);
        maximum = at_least(s, maximum);
      }
      factor = set1(1.0f);
    } else {
      for (int64_t j = 0; j + 2 <= keys; j += 2) {
        maximum = at_least(load(column + j * NR) * factor, maximum);
        other = at_least(load(column + (j + 1) * NR) * factor, other);
      }
      if (keys % 2) maximum = at_least(load(column + (keys - 1) * NR) * factor, maximum);
      maximum = at_least(maximum, other);
    }
    // A lane that has seen nothing keeps -inf; shifting by 0 then gives exp(-inf) = 0 and not NaN.
    const vf shift = select(less(nothing, maximum), maximum, vf{});
    store(tile.maximum + side * W, maximum);

    vf even = {}, odd = {};
    for (int64_t j = 0; j < keys; j += 2) {
      const vf p = exp_of_nonpositive(fma(load(column + j * NR), factor, -shift));
      const vf r = j + 1 < keys ? exp_of_nonpositive(fma(load(column + (j + 1) * NR), factor, -shift)) : vf{};
      even += p;
      odd += r;
      if (Format::STEP == 2) {
        store(column + j / 2 * NR, Format::unit(p, r));
      } else {
        store(column + j * NR, Format::unit(p, vf{}));
        if (j + 1 < keys) store(column + (j + 1) * NR, Format::unit(r, vf{}));
      }
    }
    vf denominator = load(tile.denominator + side * W);
    if (any(less(old_maximum, maximum))) {
      const vf correction = exp_of_nonpositive(old_maximum - shift);
      denominator *= correction;
      for (int64_t d = 0; d < hd; d++) {
        float *o = tile.sum + d * NR + side * W;
        store(o, load(o) * correction);
      }
    }
    store(tile.denominator + side * W, denominator + (even + odd));
  }
}

// O = O^T transposed and divided; rows that saw nothing become zero with lse = -inf.
void finish_tile(const Attention &call, const QueryTile &tile) {
  float inverse[NR], lse[NR];
  for (int side = 0; side < NR; side += W) {
    const vf denominator = load(tile.denominator + side);
    store(inverse + side, set1(1.0f) / denominator);
    store(lse + side, load(tile.maximum + side) + log_of_positive(denominator));
  }
  for (int64_t i = 0; i < tile.rows; i++) {
    const bool seen = tile.lo[i] < tile.hi[i];
    if (!seen) inverse[i] = 0;
    call.lse[(tile.row + i) * call.H + tile.head] = seen ? lse[i] : -__builtin_inff();
  }
  for (int64_t i = 0; i < tile.rows; i += W)
    for (int64_t d = 0; d < call.hd; d += W) {
      vf block[W];
#pragma GCC unroll 16
      for (int64_t e = 0; e < W; e++) block[e] = d + e < call.hd ? load(tile.sum + (d + e) * NR + i) : vf{};
      transpose(block);
#pragma GCC unroll 16
      for (int64_t e = 0; e < W; e++) {
        if (i + e >= tile.rows) continue;
        float *to = call.out + ((tile.row + i + e) * call.H + tile.head) * call.hd + d;
        // A row that saw nothing is zero, whatever shared its tile.
        store_some(to, inverse[i + e] == 0 ? vf{} : block[e] * set1(inverse[i + e]), call.hd - d);
      }
    }
}

// Query rows [row, row_end) of all heads that share key/value head `kv_head`.
template <class Format>
void attention_block(const Attention &call, int64_t row, int64_t row_end, int64_t kv_head, Range range) {
  const int64_t hd = call.hd, hd_units = units<Format>(hd), key_units = units<Format>(KEY_TILE);
  const int64_t tiles_per_head = ceil_div(row_end - row, NR), tiles = tiles_per_head * call.group();
  const int64_t per_tile = piece(hd_units * NR) + piece(hd * NR) + 4 * piece(NR);
  const int64_t k_size = packed_size(KEY_TILE, MR, hd_units), v_size = packed_size(hd, MR, key_units);
  const int64_t tile_size = round_up(int64_t(sizeof(QueryTile)) * tiles, 64) / int64_t(sizeof(float));
  Carver carver{scratch_floats(
      SCRATCH_TILE, piece(k_size) + piece(v_size) + piece(KEY_TILE * NR) + piece(tile_size) + tiles * per_tile)};
  float *packed_k = carver.take(k_size), *packed_v = carver.take(v_size), *scores = carver.take(KEY_TILE * NR);
  QueryTile *all = (QueryTile *)carver.take(tile_size);

  for (int64_t t = 0; t < tiles; t++) {
    QueryTile &tile = all[t];
    tile.head = kv_head * call.group() + t / tiles_per_head;
    tile.row = row + t % tiles_per_head * NR;
    tile.rows = smaller(NR, row_end - tile.row);
    tile.range = range_of_rows(call.lo, call.hi, tile.row, tile.row + tile.rows);
    tile.q = carver.take(hd_units * NR);
    tile.sum = carver.take(hd * NR);
    tile.maximum = carver.take(NR);
    tile.denominator = carver.take(NR);
    tile.lo = (int32_t *)carver.take(NR);
    tile.hi = (int32_t *)carver.take(NR);
    tile.common = {0, INT64_MAX};
    for (int64_t i = 0; i < NR; i++) {
      tile.lo[i] = i < tile.rows ? call.lo[tile.row + i] : 0;
      tile.hi[i] = i < tile.rows ? call.hi[tile.row + i] : 0;
      tile.maximum[i] = -__builtin_inff();
      tile.denominator[i] = 0;
      if (i >= tile.rows) continue;
      tile.common.lo = larger(tile.common.lo, tile.lo[i]);
      tile.common.hi = smaller(tile.common.hi, tile.hi[i]);
    }
    memset(tile.sum, 0, size_t(hd * NR) * sizeof(float));
    memset(tile.q, 0, size_t(hd_units * NR) * sizeof(float));
    pack_transposed<Format>(tile.q, NR, call.q + tile.row * call.ldq + tile.head * hd, call.ldq, tile.rows, hd);
  }

  for (int64_t first = range.lo; first < range.hi; first += KEY_TILE) {
    const int64_t keys = smaller(KEY_TILE, range.hi - first);
    bool packed = false;
    for (int64_t t = 0; t < tiles; t++) {
      const QueryTile &one = all[t];
      if (!one.range.touches(first, first + keys)) continue;
      if (!packed) {
        packed = true;
        pack_panels<Format>(packed_k, MR, true, call.k + first * call.ldk + kv_head * hd, call.ldk, keys, hd);
        pack_panels<Format>(packed_v, MR, false, call.v + first * call.ldv + kv_head * hd, call.ldv, hd, keys);
      }
      // Only the panels of keys that some row of this tile sees.
      const int64_t begin = larger(0, one.range.lo - first) / MR * MR, end = smaller(keys, one.range.hi - first);
      for (int64_t j = begin; j < end; j += MR)
        ::tile<Format>(smaller(MR, end - j), hd_units, packed_k + j * hd_units, one.q, scores + (j - begin) * NR, NR,
                       NR, false);
      const bool masked = one.common.lo > first + begin || one.common.hi < first + end;
      softmax_tile<Format>(one, hd, call.scale, scores, end - begin, first + begin, masked);
      const int64_t panel_units = units<Format>(keys), skipped = begin / Format::STEP;
      for (int64_t d = 0; d < hd; d += MR)
        ::tile<Format>(smaller(MR, hd - d), units<Format>(end - begin), packed_v + d * panel_units + skipped * MR,
                       scores, one.sum + d * NR, NR, NR, true);
    }
  }
  for (int64_t t = 0; t < tiles; t++) finish_tile(call, all[t]);
}

// One query row and key/value head at a time: dot products along hd, keys in chunks with a running softmax.
template <bool ROUND>
void attention_row(const Attention &call, int64_t row, int64_t kv_head) {
  constexpr int64_t chunk = 64;
  const int64_t hd = call.hd, group = call.group(), lo = call.lo[row], hi = call.hi[row];
  const int64_t width = round_up(hd, W);
  Carver carver{scratch_floats(
      SCRATCH_TILE, 2 * piece(group * width) + piece(group * chunk) + 2 * piece(group))};
  float *q = carver.take(group * width);      // [group, width], zero beyond hd
  float *sum = carver.take(group * width);    // [group, width]
  float *scores = carver.take(group * chunk); // [group, chunk]
  float *maximum = carver.take(group), *denominator = carver.take(group);
  for (int64_t h = 0; h < group; h++) {
    const float *from = call.q + row * call.ldq + (kv_head * group + h) * hd;
    for (int64_t d = 0; d < hd; d += W) {
      const vf x = load_some(from + d, hd - d);
      store(q + h * width + d, ROUND ? round_to_bf16(x) : x);
    }
    maximum[h] = -__builtin_inff();
    denominator[h] = 0;
  }
  memset(sum, 0, size_t(group * width) * sizeof(float));

  for (int64_t first = lo; first < hi; first += chunk) {
    const int64_t keys = smaller(chunk, hi - first);
    for (int64_t j = 0; j < keys; j++) {
      const float *key = call.k + (first + j) * call.ldk + kv_head * hd;
      for (int64_t h = 0; h < group; h++) {
        vf dot = {};
        for (int64_t d = 0; d < hd; d += W) {
          const vf x = load_some(key + d, hd - d);
          dot = fma(load(q + h * width + d), ROUND ? round_to_bf16(x) : x, dot);
        }
        scores[h * chunk + j] = sum_lanes(dot) * call.scale;
      }
    }
    for (int64_t h = 0; h < group; h++) {
      float *s = scores + h * chunk;
      float new_maximum = maximum[h];
      for (int64_t j = 0; j < keys; j++) new_maximum = s[j] > new_maximum ? s[j] : new_maximum;
      const float shift = new_maximum == -__builtin_inff() ? 0.0f : new_maximum;
      vf total = {};
      for (int64_t j = 0; j < keys; j += W) {
        vf p = exp(load(s + j) - set1(shift));
        if (keys - j < W) p = select(lessi(lane_index(), set1i(int32_t(keys - j))), p, vf{});
        total += p;
        store(s + j, ROUND ? round_to_bf16(p) : p);
      }
      const vf correction = exp(set1(maximum[h] - shift));
      denominator[h] = denominator[h] * correction[0] + sum_lanes(total);
      maximum[h] = new_maximum;
      for (int64_t d = 0; d < hd; d += W) {
        vf o = load(sum + h * width + d) * correction;
        for (int64_t j = 0; j < keys; j++) {
          const vf x = load_some(call.v + (first + j) * call.ldv + kv_head * hd + d, hd - d);
          o = fma(set1(s[j]), ROUND ? round_to_bf16(x) : x, o);
        }
        store(sum + h * width + d, o);
      }
    }
  }
  for (int64_t h = 0; h < group; h++) {
    const int64_t head = row * call.H + kv_head * group + h;
    const bool seen = lo < hi;
    const vf inverse = set1(seen ? 1.0f / denominator[h] : 0.0f);
    for (int64_t d = 0; d < hd; d += W)
      store_some(call.out + head * hd + d, load(sum + h * width + d) * inverse, hd - d);
    call.lse[head] = seen ? float(maximum[h] + ::log(double(denominator[h]))) : -__builtin_inff();
  }
}

// A tile pays for every key of the joint range for NR lanes; a row only for its own keys, some six times as dear.
inline bool tiles_are_cheaper(const Attention &call, int64_t begin, int64_t end, Range range) {
  int64_t visible = 0;
  for (int64_t i = begin; i < end; i++) visible += larger(0, call.hi[i] - call.lo[i]);
  return round_up(end - begin, NR) * (range.hi - range.lo) < 6 * visible;
}

template <class Format, bool ROUND>
void attention_any(const Attention &call) {
  const int64_t rows = larger(2 * NR, QUERIES_PER_BLOCK / call.group() / NR * NR);
  const int64_t blocks = ceil_div(call.Nq, rows);
  if (blocks == 1 && !tiles_are_cheaper(call, 0, call.Nq, range_of_rows(call.lo, call.hi, 0, call.Nq)))
    return for_blocks(call.Nq * call.K,
                      [&](int64_t task) { attention_row<ROUND>(call, task / call.K, task % call.K); });
  // Last rows first: under a causal mask they have the longest ranges, and short blocks fill the end evenly.
  for_blocks(blocks * call.K, [&](int64_t task) {
    const int64_t block = blocks - 1 - task / call.K, kv_head = task % call.K;
    const int64_t begin = block * rows, end = smaller(call.Nq, begin + rows);
    const Range range = range_of_rows(call.lo, call.hi, begin, end);
    if (tiles_are_cheaper(call, begin, end, range))
      attention_block<Format>(call, begin, end, kv_head, range);
    else
      for (int64_t i = begin; i < end; i++) attention_row<ROUND>(call, i, kv_head);
  });
}

void attention(int compute, int64_t Nq, int64_t H, int64_t K, int64_t hd, float scale, const float *q, int64_t ldq,
               const float *k, int64_t ldk, const float *v, int64_t ldv, const int32_t *lo, const int32_t *hi,
               float *out, float *lse) {
  if (Nq <= 0 || H <= 0) return;
  const Attention call{Nq, H, K, hd, scale, q, k, v, ldq, ldk, ldv, lo, hi, out, lse};
  if (compute == BELAY_BF16)
    attention_any<Bf16, true>(call);
  else
    attention_any<Plain, false>(call);
}

}  // namespace
