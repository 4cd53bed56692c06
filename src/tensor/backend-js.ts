// The oracle: every kernel in plain TypeScript, so obvious that a reader can check it against kernels.h.
//
// Sums are float64 and results are stored as float32. With compute 'bfloat16' the operands of each matrix
// product are rounded to bfloat16 (nearest even) just before it: q, k (scores) and p, v (output) in attention;
// q, k / p, dout / dout, v / ds, k / ds, q in its gradient; x, weight / dlogits, weight / dlogits, x in the
// cross-entropy. A native kernel may round p before or after the softmax denominator divides it, or reorder a
// sum: the tolerances of test/backend.cases.ts cover that. It is also the backend where no compiler is.
//
// Does not: run fast, or use threads.

import type { AdamwStep, AdemamixStep, Backend, Compute, Strided } from './backend.ts';
import { bf16Bits, bf16Value, roundToBf16 } from './bf16.ts';
import { flags, indices, length, numbers, ranges, refuse, rowsOf, sizes, strided } from './checks.ts';

/** The slow backend that everything else is measured against. */
export function jsBackend(): Backend {
  return {
    name: 'js',
    target: 'js',
    get threads() {
      return 1;
    },
    set threads(n: number) {
      sizes('threads', { n });
      if (n < 1 || n > 256) refuse('threads', 'n', n, 'a whole number in [1, 256]');
    },
    allocate: (bytes) => {
      sizes('allocate', { bytes });
      return new ArrayBuffer(bytes);
    },
    gemm,
    embedding,
    embeddingBackward,
    addRmsNorm,
    addRmsNormBackward,
    qkNormRope,
    qkNormRopeBackward,
    attention,
    attentionBackward,
    xielu,
    xieluBackward,
    swiglu,
    swigluBackward,
    relu2,
    relu2Backward,
    linearCrossEntropy,
    fill,
    add,
    scale,
    sumOfSquares,
    toBf16,
    fromBf16,
    ademamix,
    adamw,
    peak,
  };
}

// --- matrix products ---------------------------------------------------------------------------------------

/** Rows [first, first+rows) of a matrix as contiguous float64 [rows, columns], rounded as `compute` says. */
function operand(compute: Compute, m: Strided, first: number, rows: number, columns: number): Float64Array {
  const out = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    const from = m.offset + (first + r) * m.stride;
    for (let c = 0; c < columns; c++) out[r * columns + c] = m.data[from + c]!;
  }
  return rounded(compute, out);
}

/** Rounds in place. */
function rounded(compute: Compute, x: Float64Array): Float64Array {
  if (compute === 'bfloat16') for (let i = 0; i < x.length; i++) x[i] = roundToBf16(x[i]!);
  return x;
}

/** [rows, columns] -> [columns, rows]. */
function transposed(x: Float64Array, rows: number, columns: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = x[r * columns + c]!;
  return out;
}

/** Inner product of `count` elements. Four partial sums, because one would wait for itself. */
function dot(a: Float64Array, i: number, b: Float64Array, j: number, count: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let n = 0;
  for (; n + 4 <= count; n += 4) {
    s0 += a[i + n]! * b[j + n]!;
    s1 += a[i + n + 1]! * b[j + n + 1]!;
    s2 += a[i + n + 2]! * b[j + n + 2]!;
    s3 += a[i + n + 3]! * b[j + n + 3]!;
  }
  for (; n < count; n++) s0 += a[i + n]! * b[j + n]!;
  return s0 + s1 + (s2 + s3);
}

function checkCompute(op: string, compute: Compute): void {
  if (compute !== 'float32' && compute !== 'bfloat16') {
    refuse(op, 'compute', String(compute), "'float32' or 'bfloat16'");
  }
}

/** c[M,N] (+)= op(a)[M,K] op(b)[K,N]. */
function gemm(
  compute: Compute,
  transA: boolean,
  transB: boolean,
  M: number,
  N: number,
  K: number,
  a: Strided,
  b: Strided,
  accumulate: boolean,
  c: Strided,
): void {
  checkCompute('gemm', compute);
  flags('gemm', { transA, transB, accumulate });
  sizes('gemm', { M, N, K });
  if (transA) strided('gemm', 'a', a, K, M);
  else strided('gemm', 'a', a, M, K);
  if (transB) strided('gemm', 'b', b, N, K);
  else strided('gemm', 'b', b, K, N);
  strided('gemm', 'c', c, M, N);
  if (M === 0 || N === 0) return;
  const rows = transA ? transposed(operand(compute, a, 0, K, M), K, M) : operand(compute, a, 0, M, K);
  const columns = transB ? operand(compute, b, 0, N, K) : transposed(operand(compute, b, 0, K, N), K, N);
  for (let m = 0; m < M; m++) {
    const to = c.offset + m * c.stride;
    for (let n = 0; n < N; n++) {
      const product = dot(rows, m * K, columns, n * K, K);
      c.data[to + n] = accumulate ? c.data[to + n]! + product : product;
    }
  }
}

// --- embedding ---------------------------------------------------------------------------------------------

/** out[N,D] = weight[ids[N]]. */
function embedding(N: number, D: number, weight: Float32Array, ids: Int32Array, out: Float32Array): void {
  sizes('embedding', { N, D });
  length('embedding', 'weight', weight, 0);
  length('embedding', 'ids', ids, N, Int32Array);
  length('embedding', 'out', out, N * D);
  if (D === 0) return;
  indices('embedding', 'ids', ids, N, Math.floor(weight.length / D));
  for (let n = 0; n < N; n++) {
    const from = ids[n]! * D;
    for (let d = 0; d < D; d++) out[n * D + d] = weight[from + d]!;
  }
}

/** dweight[ids[n]] += dout[n], except where ids[n] is `padding`. */
function embeddingBackward(
  N: number,
  D: number,
  dout: Float32Array,
  ids: Int32Array,
  padding: number,
  dweight: Float32Array,
): void {
  const op = 'embeddingBackward';
  sizes(op, { N, D });
  length(op, 'dout', dout, N * D);
  length(op, 'ids', ids, N, Int32Array);
  length(op, 'dweight', dweight, 0);
  numbers(op, { padding });
  if ((padding | 0) !== padding || padding < -1) refuse(op, 'padding', padding, 'an id, or -1 for none');
  if (D === 0) return;
  indices(op, 'ids', ids, N, Math.floor(dweight.length / D));
  const total = new Float64Array(dweight.length);
  const touched = new Set<number>();
  for (let n = 0; n < N; n++) {
    const id = ids[n]!;
    if (id === padding) continue;
    touched.add(id);
    for (let d = 0; d < D; d++) total[id * D + d]! += dout[n * D + d]!;
  }
  for (const id of touched) for (let i = id * D; i < (id + 1) * D; i++) dweight[i]! += total[i]!;
}

// --- residual + RMSNorm ------------------------------------------------------------------------------------

/** sum = x + delta; out = sum / rms(sum) * weight, all [N,D]; rstd [N]. */
function addRmsNorm(
  N: number,
  D: number,
  x: Float32Array,
  delta: Float32Array | null,
  weight: Float32Array,
  eps: number,
  sum: Float32Array | null,
  out: Float32Array,
  rstd: Float32Array,
): void {
  const op = 'addRmsNorm';
  sizes(op, { N, D });
  length(op, 'x', x, N * D);
  if (delta !== null) length(op, 'delta', delta, N * D);
  numbers(op, { eps });
  length(op, 'weight', weight, D);
  if (delta !== null && sum === null) refuse(op, 'sum', 'null', 'Float32Array, because delta is given');
  if (sum !== null) length(op, 'sum', sum, N * D);
  length(op, 'out', out, N * D);
  length(op, 'rstd', rstd, N);
  if (D === 0) return;
  const row = new Float64Array(D);
  for (let n = 0; n < N; n++) {
    let squares = 0;
    for (let d = 0; d < D; d++) {
      const i = n * D + d;
      let value = x[i]!;
      if (delta !== null) {
        value = Math.fround(value + delta[i]!);
        sum![i] = value;
      }
      row[d] = value;
      squares += value * value;
    }
    const r = 1 / Math.sqrt(squares / D + eps);
    rstd[n] = r;
    for (let d = 0; d < D; d++) out[n * D + d] = row[d]! * r * weight[d]!;
  }
}

/** dsum [N,D] += rstd (g - y mean(g y)) with g = dout weight and y = sum rstd; dweight [D] += dout y. */
function addRmsNormBackward(
  N: number,
  D: number,
  sum: Float32Array,
  weight: Float32Array,
  rstd: Float32Array,
  dout: Float32Array,
  dsum: Float32Array,
  dweight: Float32Array,
): void {
  const op = 'addRmsNormBackward';
  sizes(op, { N, D });
  length(op, 'sum', sum, N * D);
  length(op, 'weight', weight, D);
  length(op, 'rstd', rstd, N);
  length(op, 'dout', dout, N * D);
  length(op, 'dsum', dsum, N * D);
  length(op, 'dweight', dweight, D);
  const total = new Float64Array(D);
  for (let n = 0; n < N; n++) {
    const r = rstd[n]!;
    const at = n * D;
    let mean = 0;
    for (let d = 0; d < D; d++) mean += (dout[at + d]! * weight[d]! * sum[at + d]! * r) / D;
    for (let d = 0; d < D; d++) {
      const y = sum[at + d]! * r;
      dsum[at + d]! += r * (dout[at + d]! * weight[d]! - y * mean);
      total[d]! += dout[at + d]! * y;
    }
  }
  if (N > 0) for (let d = 0; d < D; d++) dweight[d]! += total[d]!;
}

// --- per-head QK-norm + RoPE -------------------------------------------------------------------------------

function checkHeads(op: string, H: number, K: number, hd: number, rows: number, even: boolean): void {
  sizes(op, { H, K, hd });
  if (even && hd % 2 !== 0) refuse(op, 'hd', hd, 'an even number');
  if (H > 0 && (K === 0 || H % K !== 0)) refuse(op, 'H', H, `a multiple of K = ${K}`);
  if (rows > 0 && H + K > 0 && hd === 0) refuse(op, 'hd', hd, 'at least 1');
}

/** Rows of the tables that positions may name. */
function tableRows(op: string, half: number, cosine: Float32Array, sine: Float32Array): number {
  length(op, 'cosine', cosine, 0);
  length(op, 'sine', sine, 0);
  return half === 0 ? 2 ** 31 : Math.floor(Math.min(cosine.length, sine.length) / half);
}

/** qkv [N,(H+2K)hd] -> q [N,H*hd], k [N,K*hd]: heads normalised, weighted, rotated; rstd [N,H+K]. */
function qkNormRope(
  N: number,
  H: number,
  K: number,
  hd: number,
  qkv: Float32Array,
  qweight: Float32Array,
  kweight: Float32Array,
  eps: number,
  cosine: Float32Array,
  sine: Float32Array,
  positions: Int32Array,
  q: Float32Array,
  k: Float32Array,
  rstd: Float32Array,
): void {
  const op = 'qkNormRope';
  sizes(op, { N });
  checkHeads(op, H, K, hd, N, true);
  length(op, 'qkv', qkv, N * (H + 2 * K) * hd);
  length(op, 'qweight', qweight, hd);
  length(op, 'kweight', kweight, hd);
  numbers(op, { eps });
  const half = hd / 2;
  indices(op, 'positions', positions, N, tableRows(op, half, cosine, sine));
  length(op, 'q', q, N * H * hd);
  length(op, 'k', k, N * K * hd);
  length(op, 'rstd', rstd, N * (H + K));
  if (hd === 0) return;
  const y = new Float64Array(hd);
  for (let n = 0; n < N; n++) {
    const table = positions[n]! * half;
    for (let h = 0; h < H + K; h++) {
      const from = (n * (H + 2 * K) + h) * hd;
      const isQuery = h < H;
      const weight = isQuery ? qweight : kweight;
      const out = isQuery ? q : k;
      const to = isQuery ? (n * H + h) * hd : (n * K + h - H) * hd;
      let squares = 0;
      for (let d = 0; d < hd; d++) squares += qkv[from + d]! * qkv[from + d]!;
      const r = 1 / Math.sqrt(squares / hd + eps);
      rstd[n * (H + K) + h] = r;
      for (let d = 0; d < hd; d++) y[d] = qkv[from + d]! * r * weight[d]!;
      for (let j = 0; j < half; j++) {
        const c = cosine[table + j]!;
        const s = sine[table + j]!;
        out[to + j] = y[j]! * c - y[j + half]! * s;
        out[to + j + half] = y[j + half]! * c + y[j]! * s;
      }
    }
  }
}

/** The transpose of the rotation, then the gradient of the norm; v's part of dqkv is left alone. */
function qkNormRopeBackward(
  N: number,
  H: number,
  K: number,
  hd: number,
  qkv: Float32Array,
  qweight: Float32Array,
  kweight: Float32Array,
  rstd: Float32Array,
  cosine: Float32Array,
  sine: Float32Array,
  positions: Int32Array,
  dq: Float32Array,
  dk: Float32Array,
  dqkv: Float32Array,
  dqweight: Float32Array,
  dkweight: Float32Array,
): void {
  const op = 'qkNormRopeBackward';
  sizes(op, { N });
  checkHeads(op, H, K, hd, N, true);
  length(op, 'qkv', qkv, N * (H + 2 * K) * hd);
  length(op, 'qweight', qweight, hd);
  length(op, 'kweight', kweight, hd);
  length(op, 'rstd', rstd, N * (H + K));
  const half = hd / 2;
  indices(op, 'positions', positions, N, tableRows(op, half, cosine, sine));
  length(op, 'dq', dq, N * H * hd);
  length(op, 'dk', dk, N * K * hd);
  length(op, 'dqkv', dqkv, N * (H + 2 * K) * hd);
  length(op, 'dqweight', dqweight, hd);
  length(op, 'dkweight', dkweight, hd);
  const dy = new Float64Array(hd);
  const qTotal = new Float64Array(hd);
  const kTotal = new Float64Array(hd);
  for (let n = 0; n < N; n++) {
    const table = positions[n]! * half;
    for (let h = 0; h < H + K; h++) {
      const at = (n * (H + 2 * K) + h) * hd;
      const isQuery = h < H;
      const weight = isQuery ? qweight : kweight;
      const total = isQuery ? qTotal : kTotal;
      const dout = isQuery ? dq : dk;
      const from = isQuery ? (n * H + h) * hd : (n * K + h - H) * hd;
      const r = rstd[n * (H + K) + h]!;
      for (let j = 0; j < half; j++) {
        const c = cosine[table + j]!;
        const s = sine[table + j]!;
        dy[j] = dout[from + j]! * c + dout[from + j + half]! * s;
        dy[j + half] = dout[from + j + half]! * c - dout[from + j]! * s;
      }
      let mean = 0;
      for (let d = 0; d < hd; d++) mean += (dy[d]! * weight[d]! * qkv[at + d]! * r) / hd;
      for (let d = 0; d < hd; d++) {
        const y = qkv[at + d]! * r;
        dqkv[at + d] = r * (dy[d]! * weight[d]! - y * mean);
        total[d]! += dy[d]! * y;
      }
    }
  }
  for (let d = 0; d < hd; d++) {
    if (N > 0 && H > 0) dqweight[d]! += qTotal[d]!;
    if (N > 0 && K > 0) dkweight[d]! += kTotal[d]!;
  }
}

// --- attention ---------------------------------------------------------------------------------------------

/** The key rows that any query sees, [first, end), so that a long cache is not copied for one new token. */
function span(lo: Int32Array, hi: Int32Array, count: number): { first: number; rows: number } {
  let first = Number.POSITIVE_INFINITY;
  let end = 0;
  for (let i = 0; i < count; i++) {
    if (lo[i]! === hi[i]!) continue;
    first = Math.min(first, lo[i]!);
    end = Math.max(end, hi[i]!);
  }
  return end === 0 ? { first: 0, rows: 0 } : { first, rows: end - first };
}

/** Rows that a cache of keys or values has room for. */
function keyRowsOf(op: string, name: string, m: Strided, width: number): number {
  strided(op, name, m, 0, 0);
  const rows = rowsOf(m, width);
  strided(op, name, m, Math.min(rows, 1), width);
  return rows;
}

/** out [Nq,H*hd] = softmax(scale q k^T) v over rows [lo,hi) of each query; lse [Nq,H]. */
function attention(
  compute: Compute,
  Nq: number,
  H: number,
  K: number,
  hd: number,
  scale: number,
  q: Strided,
  k: Strided,
  v: Strided,
  lo: Int32Array,
  hi: Int32Array,
  out: Float32Array,
  lse: Float32Array,
): void {
  const op = 'attention';
  checkCompute(op, compute);
  sizes(op, { Nq });
  numbers(op, { scale });
  checkHeads(op, H, K, hd, Nq, false);
  strided(op, 'q', q, Nq, H * hd);
  const keyRows = Math.min(keyRowsOf(op, 'k', k, K * hd), keyRowsOf(op, 'v', v, K * hd));
  ranges(
    op,
    lo,
    hi,
    Nq,
    () => 0,
    () => keyRows,
  );
  length(op, 'out', out, Nq * H * hd);
  length(op, 'lse', lse, Nq * H);
  if (H === 0 || Nq === 0) return;
  const { first, rows } = span(lo, hi, Nq);
  const width = K * hd;
  const qs = operand(compute, q, 0, Nq, H * hd);
  const ks = operand(compute, k, first, rows, width);
  const vs = operand(compute, v, first, rows, width);
  const p = new Float64Array(rows);
  const row = new Float64Array(hd);
  for (let i = 0; i < Nq; i++) {
    const start = lo[i]! - first;
    const end = hi[i]! - first;
    for (let h = 0; h < H; h++) {
      const to = (i * H + h) * hd;
      const head = Math.floor(h / (H / K)) * hd;
      if (start === end) {
        out.fill(0, to, to + hd);
        lse[i * H + h] = Number.NEGATIVE_INFINITY;
        continue;
      }
      let max = Number.NEGATIVE_INFINITY;
      for (let j = start; j < end; j++) {
        p[j] = scale * dot(qs, to, ks, j * width + head, hd);
        if (p[j]! > max) max = p[j]!;
      }
      let total = 0;
      row.fill(0);
      for (let j = start; j < end; j++) {
        const e = Math.exp(p[j]! - max);
        total += e;
        const weight = compute === 'bfloat16' ? roundToBf16(e) : e;
        const from = j * width + head;
        for (let d = 0; d < hd; d++) row[d]! += weight * vs[from + d]!;
      }
      for (let d = 0; d < hd; d++) out[to + d] = row[d]! / total;
      lse[i * H + h] = max + Math.log(total);
    }
  }
}

/** With p = exp(s - lse) and ds = p (dout.v - dout.out): dv = p^T dout, dq = scale ds k, dk = scale ds^T q. */
function attentionBackward(
  compute: Compute,
  B: number,
  T: number,
  H: number,
  K: number,
  hd: number,
  scale: number,
  q: Strided,
  k: Strided,
  v: Strided,
  lo: Int32Array,
  hi: Int32Array,
  out: Float32Array,
  lse: Float32Array,
  dout: Float32Array,
  dq: Float32Array,
  dk: Float32Array,
  dv: Strided,
): void {
  const op = 'attentionBackward';
  checkCompute(op, compute);
  sizes(op, { B, T });
  numbers(op, { scale });
  checkHeads(op, H, K, hd, B * T, false);
  const N = B * T;
  const width = K * hd;
  strided(op, 'q', q, N, H * hd);
  strided(op, 'k', k, N, width);
  strided(op, 'v', v, N, width);
  ranges(
    op,
    lo,
    hi,
    N,
    (i) => Math.floor(i / T) * T,
    (i) => (Math.floor(i / T) + 1) * T,
  );
  length(op, 'out', out, N * H * hd);
  length(op, 'lse', lse, N * H);
  length(op, 'dout', dout, N * H * hd);
  length(op, 'dq', dq, N * H * hd);
  length(op, 'dk', dk, N * width);
  strided(op, 'dv', dv, N, width);
  if (N === 0 || K === 0) return;
  const contiguous = (data: Float32Array): Strided => ({ data, offset: 0, stride: H * hd });
  const qs = operand(compute, q, 0, N, H * hd);
  const ks = operand(compute, k, 0, N, width);
  const vs = operand(compute, v, 0, N, width);
  const douts = operand(compute, contiguous(dout), 0, N, H * hd);
  const dqs = new Float64Array(N * H * hd);
  const dks = new Float64Array(N * width);
  const dvs = new Float64Array(N * width);
  for (let i = 0; i < N; i++) {
    for (let h = 0; h < H; h++) {
      const at = (i * H + h) * hd;
      const head = Math.floor(h / (H / K)) * hd;
      let delta = 0;
      for (let d = 0; d < hd; d++) delta += dout[at + d]! * out[at + d]!;
      for (let j = lo[i]!; j < hi[i]!; j++) {
        const row = j * width + head;
        const p = Math.exp(scale * dot(qs, at, ks, row, hd) - lse[i * H + h]!);
        const ds = p * (dot(douts, at, vs, row, hd) - delta);
        const pr = compute === 'bfloat16' ? roundToBf16(p) : p;
        const dsr = scale * (compute === 'bfloat16' ? roundToBf16(ds) : ds);
        for (let d = 0; d < hd; d++) {
          dvs[row + d]! += pr * douts[at + d]!;
          dqs[at + d]! += dsr * ks[row + d]!;
          dks[row + d]! += dsr * qs[at + d]!;
        }
      }
    }
  }
  dq.set(dqs);
  dk.set(dks);
  for (let n = 0; n < N; n++) {
    for (let c = 0; c < width; c++) dv.data[dv.offset + n * dv.stride + c] = dvs[n * width + c]!;
  }
}

// --- xIELU -------------------------------------------------------------------------------------------------

const softplus = (a: number): number => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a)));
const sigmoid = (a: number): number => 1 / (1 + Math.exp(-a));

/** x > 0: p x^2 + beta x; else n (expm1(min(x, eps)) - x) + beta x. */
function xielu(
  count: number,
  x: Float32Array,
  alphaP: Float32Array,
  alphaN: Float32Array,
  beta: number,
  eps: number,
  out: Float32Array,
): void {
  const op = 'xielu';
  sizes(op, { count });
  numbers(op, { beta, eps });
  length(op, 'x', x, count);
  length(op, 'alphaP', alphaP, 1);
  length(op, 'alphaN', alphaN, 1);
  length(op, 'out', out, count);
  const p = softplus(alphaP[0]!);
  const n = beta + softplus(alphaN[0]!);
  const clamp = Math.fround(eps); // a float in kernels.h: an x that equals it lies on its lower side
  for (let i = 0; i < count; i++) {
    const value = x[i]!;
    const curve = value > 0 ? p * value * value : n * (Math.expm1(Math.min(value, clamp)) - value);
    out[i] = curve + beta * value;
  }
}

/** dx = dout * slope; the alphas' gradients go through softplus. */
function xieluBackward(
  count: number,
  x: Float32Array,
  alphaP: Float32Array,
  alphaN: Float32Array,
  beta: number,
  eps: number,
  dout: Float32Array,
  dx: Float32Array,
  dalphaP: Float32Array,
  dalphaN: Float32Array,
): void {
  const op = 'xieluBackward';
  sizes(op, { count });
  numbers(op, { beta, eps });
  length(op, 'x', x, count);
  length(op, 'alphaP', alphaP, 1);
  length(op, 'alphaN', alphaN, 1);
  length(op, 'dout', dout, count);
  length(op, 'dx', dx, count);
  length(op, 'dalphaP', dalphaP, 1);
  length(op, 'dalphaN', dalphaN, 1);
  if (count === 0) return;
  const p = softplus(alphaP[0]!);
  const n = beta + softplus(alphaN[0]!);
  const clamp = Math.fround(eps); // a float in kernels.h: an x that equals it lies on its lower side
  let dp = 0;
  let dn = 0;
  for (let i = 0; i < count; i++) {
    const value = x[i]!;
    const g = dout[i]!;
    if (value > 0) {
      dx[i] = g * (2 * p * value + beta);
      dp += g * value * value;
    } else {
      // The clamp min(x, eps) is flat above eps: only -n x + beta x is left there.
      const inner = value > clamp ? -1 : Math.expm1(value);
      dx[i] = g * (n * inner + beta);
      dn += g * (Math.expm1(Math.min(value, clamp)) - value);
    }
  }
  dalphaP[0]! += dp * sigmoid(alphaP[0]!);
  dalphaN[0]! += dn * sigmoid(alphaN[0]!);
}

// --- activations that xIELU is compared with ----------------------------------------------------------------

/** out = silu(gate) * up; gateUp [N, 2F] holds gate, then up, in each row. */
function swiglu(N: number, F: number, gateUp: Float32Array, out: Float32Array): void {
  const op = 'swiglu';
  sizes(op, { N, F });
  length(op, 'gateUp', gateUp, N * 2 * F);
  length(op, 'out', out, N * F);
  for (let n = 0; n < N; n++) {
    for (let f = 0; f < F; f++) {
      const gate = gateUp[n * 2 * F + f]!;
      out[n * F + f] = gate * sigmoid(gate) * gateUp[n * 2 * F + F + f]!;
    }
  }
}

/** dgateUp [N, 2F]: dout * up * silu'(gate), then dout * silu(gate). */
function swigluBackward(N: number, F: number, gateUp: Float32Array, dout: Float32Array, dgateUp: Float32Array): void {
  const op = 'swigluBackward';
  sizes(op, { N, F });
  length(op, 'gateUp', gateUp, N * 2 * F);
  length(op, 'dout', dout, N * F);
  length(op, 'dgateUp', dgateUp, N * 2 * F);
  for (let n = 0; n < N; n++) {
    for (let f = 0; f < F; f++) {
      const gate = gateUp[n * 2 * F + f]!;
      const g = dout[n * F + f]!;
      const s = sigmoid(gate);
      dgateUp[n * 2 * F + f] = g * gateUp[n * 2 * F + F + f]! * s * (1 + gate * (1 - s));
      dgateUp[n * 2 * F + F + f] = g * gate * s;
    }
  }
}

/** out = max(x, 0)^2. */
function relu2(count: number, x: Float32Array, out: Float32Array): void {
  const op = 'relu2';
  sizes(op, { count });
  length(op, 'x', x, count);
  length(op, 'out', out, count);
  for (let i = 0; i < count; i++) out[i] = Math.max(x[i]!, 0) ** 2;
}

/** dx = dout * 2 max(x, 0). */
function relu2Backward(count: number, x: Float32Array, dout: Float32Array, dx: Float32Array): void {
  const op = 'relu2Backward';
  sizes(op, { count });
  length(op, 'x', x, count);
  length(op, 'dout', dout, count);
  length(op, 'dx', dx, count);
  for (let i = 0; i < count; i++) dx[i] = dout[i]! * 2 * Math.max(x[i]!, 0);
}

// --- linear + softmax cross-entropy ------------------------------------------------------------------------

/** loss[n] = logsumexp(x[n] weight^T) - its label's logit; with coefficient also dx [N,D] and dweight [V,D]. */
function linearCrossEntropy(
  compute: Compute,
  N: number,
  D: number,
  V: number,
  x: Float32Array,
  weight: Float32Array,
  labels: Int32Array,
  coefficient: Float32Array | null,
  loss: Float32Array,
  dx: Float32Array | null,
  dweight: Float32Array | null,
): void {
  const op = 'linearCrossEntropy';
  checkCompute(op, compute);
  sizes(op, { N, D, V });
  length(op, 'x', x, N * D);
  length(op, 'weight', weight, V * D);
  indices(op, 'labels', labels, N, V);
  length(op, 'loss', loss, N);
  const hasGradient = coefficient !== null;
  if (hasGradient !== (dx !== null)) {
    refuse(op, 'dx', dx === null ? 'null' : 'an array', hasGradient ? 'Float32Array' : 'null without coefficient');
  }
  if (hasGradient !== (dweight !== null)) {
    const got = dweight === null ? 'null' : 'an array';
    refuse(op, 'dweight', got, hasGradient ? 'Float32Array' : 'null without coefficient');
  }
  if (coefficient !== null) length(op, 'coefficient', coefficient, N);
  if (dx !== null) length(op, 'dx', dx, N * D);
  if (dweight !== null) length(op, 'dweight', dweight, V * D);
  if (N === 0) return;
  if (D === 0) refuse(op, 'D', D, 'at least 1');

  const xs = operand(compute, { data: x, offset: 0, stride: D }, 0, N, D);
  const ws = operand(compute, { data: weight, offset: 0, stride: D }, 0, V, D);
  const logits = new Float64Array(V);
  const dxRow = new Float64Array(D);
  const dws = hasGradient ? new Float64Array(V * D) : null;
  let any = false;
  for (let n = 0; n < N; n++) {
    const label = labels[n]!;
    let max = Number.NEGATIVE_INFINITY;
    for (let o = 0; o < V; o++) {
      logits[o] = dot(xs, n * D, ws, o * D, D);
      if (logits[o]! > max) max = logits[o]!;
    }
    let total = 0;
    for (let o = 0; o < V; o++) total += Math.exp(logits[o]! - max);
    const lse = max + Math.log(total);
    loss[n] = lse - logits[label]!;
    if (coefficient === null || dx === null || dws === null) continue;
    dxRow.fill(0);
    const c = coefficient[n]!;
    if (c !== 0) {
      any = true;
      for (let o = 0; o < V; o++) {
        let g = c * (Math.exp(logits[o]! - lse) - (o === label ? 1 : 0));
        if (compute === 'bfloat16') g = roundToBf16(g);
        for (let d = 0; d < D; d++) {
          dxRow[d]! += g * ws[o * D + d]!;
          dws[o * D + d]! += g * xs[n * D + d]!;
        }
      }
    }
    dx.set(dxRow, n * D);
  }
  if (any && dweight !== null && dws !== null) for (let i = 0; i < V * D; i++) dweight[i]! += dws[i]!;
}

// --- elementwise and reductions ----------------------------------------------------------------------------

function fill(count: number, value: number, out: Float32Array): void {
  sizes('fill', { count });
  numbers('fill', { value });
  length('fill', 'out', out, count);
  out.fill(value, 0, count);
}

function add(count: number, a: Float32Array, b: Float32Array, out: Float32Array): void {
  sizes('add', { count });
  length('add', 'a', a, count);
  length('add', 'b', b, count);
  length('add', 'out', out, count);
  for (let i = 0; i < count; i++) out[i] = a[i]! + b[i]!;
}

function scale(count: number, factor: number, x: Float32Array): void {
  sizes('scale', { count });
  numbers('scale', { factor });
  length('scale', 'x', x, count);
  for (let i = 0; i < count; i++) x[i]! *= Math.fround(factor);
}

function sumOfSquares(count: number, x: Float32Array): number {
  sizes('sumOfSquares', { count });
  length('sumOfSquares', 'x', x, count);
  let total = 0;
  for (let i = 0; i < count; i++) total += x[i]! * x[i]!;
  return total;
}

function toBf16(count: number, x: Float32Array, out: Uint16Array): void {
  sizes('toBf16', { count });
  length('toBf16', 'x', x, count);
  length('toBf16', 'out', out, count, Uint16Array);
  for (let i = 0; i < count; i++) out[i] = bf16Bits(x[i]!);
}

function fromBf16(count: number, x: Uint16Array, out: Float32Array): void {
  sizes('fromBf16', { count });
  length('fromBf16', 'x', x, count, Uint16Array);
  length('fromBf16', 'out', out, count);
  for (let i = 0; i < count; i++) out[i] = bf16Value(x[i]!);
}

// --- optimizers --------------------------------------------------------------------------------------------

/** AdEMAMix: a fast and a slow average of the gradient over the root of its second moment. */
function ademamix(
  count: number,
  p: Float32Array,
  g: Float32Array,
  m1: Float32Array,
  m2: Float32Array,
  v: Float32Array,
  step: AdemamixStep,
): void {
  const op = 'ademamix';
  sizes(op, { count });
  for (const [name, array] of Object.entries({ p, g, m1, m2, v })) length(op, name, array, count);
  numbers(op, step, [
    'clip',
    'lr',
    'beta1',
    'beta2',
    'beta3',
    'alpha',
    'eps',
    'weightDecay',
    'correction1',
    'correction2',
  ]);
  const { clip, lr, beta1, beta2, beta3, alpha, eps, weightDecay, correction1, correction2 } = step;
  const root2 = Math.sqrt(correction2);
  for (let i = 0; i < count; i++) {
    const gi = g[i]! * clip;
    m1[i] = beta1 * m1[i]! + (1 - beta1) * gi;
    m2[i] = beta3 * m2[i]! + (1 - beta3) * gi;
    v[i] = beta2 * v[i]! + (1 - beta2) * gi * gi;
    const direction = (m1[i]! / correction1 + alpha * m2[i]!) / (Math.sqrt(v[i]!) / root2 + eps);
    p[i]! -= lr * (direction + weightDecay * p[i]!);
  }
}

/** AdamW: decoupled decay, then the bias-corrected step. */
function adamw(
  count: number,
  p: Float32Array,
  g: Float32Array,
  m: Float32Array,
  v: Float32Array,
  step: AdamwStep,
): void {
  const op = 'adamw';
  sizes(op, { count });
  for (const [name, array] of Object.entries({ p, g, m, v })) length(op, name, array, count);
  numbers(op, step, ['clip', 'lr', 'beta1', 'beta2', 'eps', 'weightDecay', 'correction1', 'correction2']);
  const { clip, lr, beta1, beta2, eps, weightDecay, correction1, correction2 } = step;
  const root2 = Math.sqrt(correction2);
  for (let i = 0; i < count; i++) {
    const gi = g[i]! * clip;
    m[i] = beta1 * m[i]! + (1 - beta1) * gi;
    v[i] = beta2 * v[i]! + (1 - beta2) * gi * gi;
    p[i] = p[i]! * (1 - lr * weightDecay) - (lr * (m[i]! / correction1)) / (Math.sqrt(v[i]!) / root2 + eps);
  }
}

// --- measuring ---------------------------------------------------------------------------------------------

/** Eight independent multiply-adds a round, two operations each. */
function peak(compute: Compute, iterations: number): number {
  checkCompute('peak', compute);
  sizes('peak', { iterations });
  const lanes = new Float64Array(8).fill(1);
  for (let i = 0; i < iterations; i++) for (let j = 0; j < 8; j++) lanes[j] = lanes[j]! * 0.999 + 0.001;
  return iterations * 16;
}
