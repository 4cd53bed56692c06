// One list of cases for every backend: each op, forward and backward, both computes, sizes that fit no tile.
//
// The oracle (js) is held to a second, independent formula where one is cheap and to numerical gradients everywhere;
// every native target is held to the oracle. Outputs are compared whole, with the elements around them, so that a
// write outside of a matrix is a failure.
//
// The tolerance rule:  |got - want| <= 4 u sqrt(K) scale
//   K      terms that each output sums (1 where nothing is summed);
//   scale  the largest finite |want| of that output, but at least `floor` (inputs are drawn of size 1, so 1): a sum of
//          terms of size 1 that happens to cancel is still off by the rounding of its terms. The gradient of a norm is a
//          difference of terms of size rstd, which is large where a row is small: its floor is the largest rstd;
//   u      2^-24 (float32 rounding) where backends round at the same places: float32, and the bfloat16 products whose
//          operands are inputs, since every backend rounds those alike and then accumulates in float32;
//          2^-8 (bfloat16 rounding) where an operand is itself computed: p and ds of attention, d logits;
//          0 where nothing may differ at all. The 4 pays for exp, for several steps and for tails.
// NaN and infinities must be in the same places.
//
// Does not: run anything; backend.test.ts does.

import type { Backend, Compute, Strided } from '../src/tensor/backend.ts';
import { roundToBf16 } from '../src/tensor/bf16.ts';
import { Random } from '../src/base/rng.ts';

export type Numbers = Float32Array | Uint16Array | Float64Array;
export type Outputs = Record<string, Numbers>;

export interface Tolerance {
  readonly u: number;
  readonly K: number;
  readonly floor?: number | (() => number);
}

export interface Case {
  readonly op: string;
  readonly name: string;
  /** Makes the inputs afresh and runs the op. */
  run(backend: Backend): Outputs;
  /** By output; `rest` serves the others. */
  readonly tolerances: Readonly<Record<string, Tolerance>>;
  /** Why native kernels let a NaN spread further than the oracle does; they are then held to the rest alone. */
  readonly spreads?: string;
  /** The same outputs by another way of computing them. */
  formula?(): Record<string, ArrayLike<number>>;
}

export const u32 = 2 ** -24;
export const u16 = 2 ** -8;
const exact: Tolerance = { u: 0, K: 1 };
const computes: readonly Compute[] = ['float32', 'bfloat16'];

/** The first element of `got` outside of the tolerance, as a sentence, or null. */
export function difference(
  got: Outputs,
  want: Record<string, ArrayLike<number>>,
  of: Case,
  maySpread = false,
): string | null {
  for (const [name, wanted] of Object.entries(want)) {
    const values = got[name];
    if (values === undefined || values.length !== wanted.length) return `${name}: not there, or not as long`;
    const { u, K, floor = 1 } = (of.tolerances[name] ?? of.tolerances['rest']) as Tolerance;
    let scale = typeof floor === 'number' ? floor : floor();
    for (let i = 0; i < wanted.length; i++) {
      const size = Math.abs(wanted[i]!);
      if (Number.isFinite(size) && size > scale) scale = size;
    }
    const bound = 4 * u * Math.sqrt(Math.max(K, 1)) * scale;
    for (let i = 0; i < wanted.length; i++) {
      const a = values[i]!;
      const b = wanted[i]!;
      const isSame = a === b || (Number.isNaN(a) && Number.isNaN(b)) || Math.abs(a - b) <= bound;
      if (maySpread && Number.isNaN(a)) continue;
      if (!isSame) return `${name}[${i}] of ${wanted.length}: got ${a}, expected ${b} within ${bound.toExponential(2)}`;
    }
  }
  return null;
}

// --- inputs --------------------------------------------------------------------------------------------------------

/** Inputs of one case: the same numbers each time that it is run. */
class Inputs {
  private readonly random: Random;

  constructor(name: string) {
    this.random = new Random(1, name);
  }

  normal(count: number, scale = 1, mean = 0): Float32Array {
    return Float32Array.from({ length: count }, () => mean + scale * this.random.normal());
  }

  below(count: number, end: number): Int32Array {
    return Int32Array.from({ length: count }, () => this.random.integer(end));
  }

  /** A [rows, columns] matrix inside a larger array whose other elements are 7 (or NaN, where nothing may read). */
  matrix(rows: number, columns: number, gap = 0, offset = 0, around = 7): Strided {
    const data = new Float32Array(offset + rows * (columns + gap) + offset).fill(around);
    for (let r = 0; r < rows; r++) data.set(this.normal(columns), offset + r * (columns + gap));
    return { data, offset, stride: columns + gap };
  }
}

/** The largest number that is one. */
const largest = (values: ArrayLike<number>): number => {
  let most = 1;
  for (let i = 0; i < values.length; i++) if (values[i]! > most) most = values[i]!;
  return most;
};

const at = (m: Strided, r: number, c: number): number => m.data[m.offset + r * m.stride + c]!;
const rounding = (compute: Compute) => (x: number) => (compute === 'bfloat16' ? roundToBf16(x) : x);
const sum = (count: number, term: (i: number) => number): number => {
  let total = 0;
  for (let i = 0; i < count; i++) total += term(i);
  return total;
};

// --- matrix products -----------------------------------------------------------------------------------------------

export function gemmCase(
  compute: Compute,
  transA: boolean,
  transB: boolean,
  accumulate: boolean,
  M: number,
  N: number,
  K: number,
  poison?: (a: Strided, b: Strided) => void,
  note = '',
): Case {
  const name = `${compute} ${transA ? 'A^T' : 'A'} ${transB ? 'B^T' : 'B'} ${accumulate ? '+=' : '='} ${M}x${N}x${K}${note}`;
  const make = (): { a: Strided; b: Strided; c: Strided } => {
    const inputs = new Inputs(`gemm ${name}`);
    // Odd sizes also get gaps between rows and an offset; what lies in the gaps is NaN and must not be read.
    const gap = (M + N + K) % 2;
    const a = transA ? inputs.matrix(K, M, gap * 3, gap, NaN) : inputs.matrix(M, K, gap * 3, gap, NaN);
    const b = transB ? inputs.matrix(N, K, gap * 5, gap, NaN) : inputs.matrix(K, N, gap * 5, gap, NaN);
    const c = inputs.matrix(M, N, gap * 2, gap * 3);
    poison?.(a, b);
    return { a, b, c };
  };
  return {
    op: 'gemm',
    name,
    tolerances: { rest: { u: u32, K } },
    run(backend) {
      const { a, b, c } = make();
      backend.gemm(compute, transA, transB, M, N, K, a, b, accumulate, c);
      return { c: c.data };
    },
    formula() {
      const { a, b, c } = make();
      const round = rounding(compute);
      const out = Float64Array.from(c.data);
      for (let m = 0; m < M; m++) {
        for (let n = 0; n < N; n++) {
          const product = sum(
            K,
            (k) => round(transA ? at(a, k, m) : at(a, m, k)) * round(transB ? at(b, n, k) : at(b, k, n)),
          );
          out[c.offset + m * c.stride + n] = product + (accumulate ? at(c, m, n) : 0);
        }
      }
      return { c: out };
    },
  };
}

const gemmSizes: readonly (readonly [number, number, number])[] = [
  [1, 1, 1],
  [3, 5, 7],
  [16, 16, 16],
  [17, 33, 65],
  [33, 1, 17],
  [1, 129, 33],
  [2, 300, 64],
  [5, 47, 130],
  [65, 96, 257],
  [130, 70, 33],
  [0, 5, 3],
  [5, 0, 3],
  [5, 3, 0],
];

function gemmCases(): Case[] {
  const cases: Case[] = [];
  for (const compute of computes) {
    for (const transA of [false, true]) {
      for (const transB of [false, true]) {
        for (const [M, N, K] of gemmSizes) {
          cases.push(
            gemmCase(compute, transA, transB, false, M, N, K),
            gemmCase(compute, transA, transB, true, M, N, K),
          );
        }
        const nan = (a: Strided, b: Strided): void => {
          a.data[a.offset + (transA ? 2 * a.stride + 1 : a.stride + 2)] = NaN; // a(1, 2): row 1 of c
          b.data[b.offset + (transB ? 4 * b.stride + 3 : 3 * b.stride + 4)] = Infinity; // b(3, 4): column 4
        };
        for (const M of [2, 19]) {
          cases.push(gemmCase(compute, transA, transB, false, M, 21, 18, nan, ' with NaN and Inf'));
        }
      }
    }
  }
  return cases;
}

// --- embedding -----------------------------------------------------------------------------------------------------

export function embeddingCase(N: number, D: number, V: number, padding: number): Case {
  const name = `${N} ids of ${V}, width ${D}, padding ${padding}`;
  const make = (): { weight: Float32Array; ids: Int32Array; dout: Float32Array } => {
    const inputs = new Inputs(`embedding ${name}`);
    const weight = inputs.normal(V * D);
    if (V * D > 0) weight[0] = NaN;
    return { weight, ids: inputs.below(N, V), dout: inputs.normal(N * D) };
  };
  return {
    op: 'embedding',
    name,
    tolerances: { out: exact, dweight: { u: u32, K: N } },
    run(backend) {
      const { weight, ids, dout } = make();
      const out = new Float32Array(N * D + 3).fill(7);
      const dweight = new Inputs(`start ${name}`).normal(V * D);
      backend.embedding(N, D, weight, ids, out);
      backend.embeddingBackward(N, D, dout, ids, padding, dweight);
      return { out, dweight };
    },
    formula() {
      const { weight, ids, dout } = make();
      const start = new Inputs(`start ${name}`).normal(V * D);
      const out = new Float32Array(N * D + 3).fill(7);
      for (let i = 0; i < N * D; i++) out[i] = weight[ids[Math.floor(i / D)]! * D + (i % D)]!;
      const dweight = Float64Array.from(start, (value, i) => {
        const [v, d] = [Math.floor(i / D), i % D];
        return v === padding ? value : value + sum(N, (n) => (ids[n] === v ? dout[n * D + d]! : 0));
      });
      return { out, dweight };
    },
  };
}

// --- residual + RMSNorm ----------------------------------------------------------------------------------------------

export function rmsNormCase(N: number, D: number, hasDelta: boolean, nanRow = -1): Case {
  const name = `${N}x${D}${hasDelta ? ' with delta' : ''}${nanRow < 0 ? '' : ` NaN in row ${nanRow}`}`;
  const eps = 1e-5;
  const make = (): { x: Float32Array; delta: Float32Array | null; weight: Float32Array } => {
    const inputs = new Inputs(`rmsnorm ${name}`);
    const x = inputs.normal(N * D, 2);
    if (nanRow >= 0) x[nanRow * D + (D >> 1)] = NaN;
    return { x, delta: hasDelta ? inputs.normal(N * D) : null, weight: inputs.normal(D, 0.3, 1) };
  };
  const formula = (): Record<'out' | 'rstd', Float64Array> & { sum?: Float32Array } => {
    const { x, delta, weight } = make();
    const sums = x.map((value, i) => value + (delta?.[i] ?? 0));
    const rstd = new Float64Array(N + 1).fill(7);
    const out = new Float64Array(N * D + 1).fill(7);
    for (let n = 0; n < N; n++) {
      if (D > 0) rstd[n] = (sum(D, (d) => sums[n * D + d]! ** 2) / D + eps) ** -0.5;
      for (let d = 0; d < D; d++) out[n * D + d] = sums[n * D + d]! * rstd[n]! * weight[d]!;
    }
    return { ...(delta === null ? {} : { sum: sums }), out, rstd };
  };
  return {
    op: 'addRmsNorm',
    name,
    tolerances: {
      sum: exact,
      dweight: { u: u32, K: N * D },
      dsum: { u: u32, K: D, floor: () => largest(formula().rstd) },
      rest: { u: u32, K: D },
    },
    run(backend) {
      const { x, delta, weight } = make();
      const sums = delta === null ? null : new Float32Array(N * D);
      const out = new Float32Array(N * D + 1).fill(7);
      const rstd = new Float32Array(N + 1).fill(7);
      backend.addRmsNorm(N, D, x, delta, weight, eps, sums, out, rstd);
      const inputs = new Inputs(`back ${name}`);
      const dout = inputs.normal(N * D);
      const dsum = inputs.normal(N * D);
      const dweight = inputs.normal(D);
      backend.addRmsNormBackward(N, D, sums ?? x, weight, rstd, dout, dsum, dweight);
      return { ...(sums === null ? {} : { sum: sums }), out, rstd, dsum, dweight };
    },
    formula,
  };
}

// --- per-head QK-norm + RoPE -------------------------------------------------------------------------------------------

/** cosine and sine [rows, hd/2] of the usual rotation. */
export function rotation(rows: number, hd: number): { cosine: Float32Array; sine: Float32Array } {
  const half = hd / 2;
  const angle = (i: number): number => Math.floor(i / half) * 10000 ** (-(i % half) / half);
  const cosine = Float32Array.from({ length: rows * half }, (_, i) => Math.cos(angle(i)));
  return { cosine, sine: cosine.map((_, i) => Math.sin(angle(i))) };
}

export function qkNormRopeCase(N: number, H: number, K: number, hd: number, nanRow = -1): Case {
  const name = `N ${N}, ${H}/${K} heads of ${hd}${nanRow < 0 ? '' : ` NaN in row ${nanRow}`}`;
  const eps = 1e-6;
  const width = (H + 2 * K) * hd;
  const rows = 40;
  const make = (): { qkv: Float32Array; qweight: Float32Array; kweight: Float32Array; positions: Int32Array } => {
    const inputs = new Inputs(`qknorm ${name}`);
    const qkv = inputs.normal(N * width, 2);
    if (nanRow >= 0) qkv[nanRow * width] = NaN;
    const positions = inputs.below(N, rows);
    return { qkv, qweight: inputs.normal(hd, 0.3, 1), kweight: inputs.normal(hd, 0.3, 1), positions };
  };
  /** rstd of every head. */
  const smallRows = (): number[] => {
    const { qkv } = make();
    const head = (i: number): number => sum(hd, (d) => qkv[i * hd + d]! ** 2) / hd + eps;
    return Array.from({ length: N * (H + 2 * K) }, (_, i) => head(i) ** -0.5);
  };
  return {
    op: 'qkNormRope',
    name,
    tolerances: {
      dqweight: { u: u32, K: N * H * hd },
      dkweight: { u: u32, K: N * K * hd },
      dqkv: { u: u32, K: hd, floor: () => largest(smallRows()) },
      rest: { u: u32, K: hd },
    },
    run(backend) {
      const { qkv, qweight, kweight, positions } = make();
      const { cosine, sine } = rotation(rows, hd);
      const q = new Float32Array(N * H * hd + 1).fill(7);
      const k = new Float32Array(N * K * hd + 1).fill(7);
      const rstd = new Float32Array(N * (H + K));
      backend.qkNormRope(N, H, K, hd, qkv, qweight, kweight, eps, cosine, sine, positions, q, k, rstd);
      const inputs = new Inputs(`back ${name}`);
      const dq = inputs.normal(N * H * hd);
      const dk = inputs.normal(N * K * hd);
      const dqkv = new Float32Array(N * width + 1).fill(7); // v's part must stay 7
      const dqweight = inputs.normal(hd);
      const dkweight = inputs.normal(hd);
      backend.qkNormRopeBackward(
        ...([N, H, K, hd, qkv, qweight, kweight, rstd, cosine, sine, positions] as const),
        ...([dq, dk, dqkv, dqweight, dkweight] as const),
      );
      return { q, k, rstd, dqkv, dqweight, dkweight };
    },
    formula() {
      const { qkv, qweight, kweight, positions } = make();
      const half = hd / 2;
      // One rotated head as complex numbers, straight from the angle.
      const head = (n: number, h: number, weight: Float32Array): number[] => {
        const x = Array.from(qkv.subarray(n * width + h * hd, n * width + (h + 1) * hd));
        const r = (sum(hd, (d) => x[d]! ** 2) / hd + eps) ** -0.5;
        return x.map((_, d) => {
          const j = d % half;
          const angle = positions[n]! * 10000 ** (-j / half);
          const [re, im] = [x[j]! * r * weight[j]!, x[j + half]! * r * weight[j + half]!];
          return d < half ? re * Math.cos(angle) - im * Math.sin(angle) : im * Math.cos(angle) + re * Math.sin(angle);
        });
      };
      const q = Array.from({ length: N * H }, (_, i) => head(Math.floor(i / H), i % H, qweight)).flat();
      const k = Array.from({ length: N * K }, (_, i) => head(Math.floor(i / K), H + (i % K), kweight)).flat();
      return { q: [...q, 7], k: [...k, 7] };
    },
  };
}

// --- attention -----------------------------------------------------------------------------------------------------

export interface Ranges {
  readonly lo: Int32Array;
  readonly hi: Int32Array;
}

/** Documents of the given lengths, one after the other, each causal. A length of 0 is a document with no rows. */
export function packed(lengths: readonly number[]): Ranges {
  const lo: number[] = [];
  for (const length of lengths) {
    const first = lo.length;
    for (let i = 0; i < length; i++) lo.push(first);
  }
  return { lo: Int32Array.from(lo), hi: Int32Array.from(lo, (_, i) => i + 1) };
}

/** A NaN in element 0 of one row of q, k or v. */
export type Poison = readonly ['q' | 'k' | 'v', number];

function explicitAttention(
  compute: Compute,
  H: number,
  K: number,
  hd: number,
  scale: number,
  q: Strided,
  k: Strided,
  v: Strided,
  { lo, hi }: Ranges,
): { out: number[]; lse: number[] } {
  const round = rounding(compute);
  const out: number[] = [];
  const lse: number[] = [];
  for (let i = 0; i < lo.length; i++) {
    for (let h = 0; h < H; h++) {
      const g = Math.floor((h * K) / H) * hd;
      const score = (j: number): number => scale * sum(hd, (d) => round(at(q, i, h * hd + d)) * round(at(k, j, g + d)));
      const rows = Array.from({ length: hi[i]! - lo[i]! }, (_, n) => lo[i]! + n);
      const weights = rows.map((j) => Math.exp(score(j)));
      const total = sum(rows.length, (n) => weights[n]!);
      lse.push(Math.log(total));
      for (let d = 0; d < hd; d++) {
        out.push(
          rows.length === 0 ? 0 : sum(rows.length, (n) => (weights[n]! * round(at(v, rows[n]!, g + d))) / total),
        );
      }
    }
  }
  return { out, lse };
}

/** Forward alone: queries of any number over a cache of `rows` keys. */
export function decodeCase(
  compute: Compute,
  H: number,
  K: number,
  hd: number,
  rows: number,
  ranges: Ranges,
  note: string,
  poison?: Poison,
): Case {
  const Nq = ranges.lo.length;
  const name = `${compute} ${note}, ${Nq} queries over ${rows} rows, ${H}/${K} heads of ${hd}`;
  const scale = hd ** -0.5;
  const longest = Math.max(1, ...ranges.lo.map((lo, i) => ranges.hi[i]! - lo));
  const make = (): { q: Strided; k: Strided; v: Strided } => {
    const inputs = new Inputs(`attention ${name}`);
    const made = {
      q: inputs.matrix(Nq, H * hd, 3, 1, NaN),
      k: inputs.matrix(rows, K * hd, 5, 2, NaN),
      v: inputs.matrix(rows, K * hd, 1, 3, NaN),
    };
    if (poison !== undefined) {
      const m = made[poison[0]];
      m.data[m.offset + poison[1] * m.stride] = NaN;
    }
    return made;
  };
  return {
    op: 'attention',
    name,
    tolerances: {
      out: compute === 'bfloat16' ? { u: u16, K: 1 } : { u: u32, K: hd + longest },
      rest: { u: u32, K: hd + longest },
    },
    run(backend) {
      const { q, k, v } = make();
      const out = new Float32Array(Nq * H * hd + 1).fill(7);
      const lse = new Float32Array(Nq * H + 1).fill(7);
      backend.attention(compute, Nq, H, K, hd, scale, q, k, v, ranges.lo, ranges.hi, out, lse);
      return { out, lse };
    },
    formula() {
      const { q, k, v } = make();
      const { out, lse } = explicitAttention(compute, H, K, hd, scale, q, k, v, ranges);
      return { out: [...out, 7], lse: [...lse, 7] };
    },
  };
}

/** Forward and backward over B rows of T tokens, as in training: v lies inside qkv, dv inside dqkv. */
export function attentionCase(
  compute: Compute,
  B: number,
  T: number,
  H: number,
  K: number,
  hd: number,
  ranges: Ranges,
  note: string,
  poison?: Poison,
): Case {
  const N = B * T;
  const name = `${compute} ${note}, ${B}x${T} tokens, ${H}/${K} heads of ${hd}`;
  const scale = hd ** -0.5;
  const wide = (H + 2 * K) * hd;
  const isRounded = compute === 'bfloat16';
  const back: Tolerance = isRounded ? { u: u16, K: 4 } : { u: u32, K: 2 * hd + T * (H / K) };
  return {
    op: 'attentionBackward',
    name,
    ...(poison === undefined
      ? {}
      : { spreads: 'masked entries of a tile are zeros that are multiplied, and zero times NaN is NaN' }),
    tolerances: {
      out: isRounded ? { u: u16, K: 1 } : { u: u32, K: hd + T },
      lse: { u: u32, K: hd + T },
      rest: back,
    },
    run(backend) {
      const inputs = new Inputs(`attention ${name}`);
      const q = inputs.matrix(N, H * hd);
      const k = inputs.matrix(N, K * hd);
      const v: Strided = { data: inputs.normal(N * wide), offset: (H + K) * hd, stride: wide };
      if (poison !== undefined) {
        const m = { q, k, v }[poison[0]];
        m.data[m.offset + poison[1] * m.stride] = NaN;
      }
      const dout = inputs.normal(N * H * hd);
      const out = new Float32Array(N * H * hd);
      const lse = new Float32Array(N * H);
      backend.attention(compute, N, H, K, hd, scale, q, k, v, ranges.lo, ranges.hi, out, lse);
      const dq = new Float32Array(N * H * hd + 1).fill(7);
      const dk = new Float32Array(N * K * hd + 1).fill(7);
      const dqkv = new Float32Array(N * wide).fill(7); // only v's part may change
      backend.attentionBackward(
        ...([compute, B, T, H, K, hd, scale, q, k, v, ranges.lo, ranges.hi, out, lse, dout, dq, dk] as const),
        { data: dqkv, offset: (H + K) * hd, stride: wide },
      );
      return { out, lse, dq, dk, dqkv };
    },
  };
}

function attentionCases(): Case[] {
  const cases: Case[] = [];
  const causal = (B: number, T: number): Ranges => packed(Array.from({ length: B }, () => T));
  for (const compute of computes) {
    for (const [B, T, H, K, hd] of [
      [1, 1, 1, 1, 1],
      [1, 3, 1, 1, 2],
      [2, 17, 2, 1, 16],
      [1, 33, 4, 2, 17],
      [2, 65, 4, 2, 64],
      [1, 70, 3, 3, 128],
      [1, 150, 8, 1, 32],
    ] as const) {
      cases.push(attentionCase(compute, B, T, H, K, hd, causal(B, T), 'causal'));
    }
    cases.push(
      attentionCase(compute, 2, 65, 4, 2, 16, packed([1, 30, 0, 2, 32, 65]), 'packed documents, one of no rows'),
      attentionCase(compute, 1, 100, 2, 2, 33, packed([33, 1, 1, 64, 1]), 'packed documents'),
      attentionCase(compute, 1, 130, 6, 3, 64, packed([63, 1, 66]), 'packed documents'),
      attentionCase(compute, 0, 5, 2, 1, 8, causal(0, 5), 'no rows'),
      attentionCase(compute, 1, 0, 2, 1, 8, causal(1, 0), 'no tokens'),
    );
    const holes = packed([20, 15, 5]);
    for (const i of [0, 7, 20, 39]) holes.hi[i] = holes.lo[i]!;
    cases.push(attentionCase(compute, 1, 40, 4, 2, 16, holes, 'rows that see nothing'));
    for (const which of ['q', 'k', 'v'] as const) {
      const note = `packed documents, NaN in ${which}`;
      cases.push(attentionCase(compute, 1, 80, 4, 2, 16, packed([20, 25, 35]), note, [which, 30]));
    }
    const range = (...pairs: readonly (readonly [number, number])[]): Ranges => ({
      lo: Int32Array.from(pairs, (p) => p[0]),
      hi: Int32Array.from(pairs, (p) => p[1]),
    });
    cases.push(
      decodeCase(compute, 4, 2, 16, 100, range([0, 77]), 'decoding'),
      decodeCase(compute, 8, 1, 64, 300, range([17, 300]), 'decoding'),
      decodeCase(compute, 2, 2, 33, 90, range([0, 1], [1, 50], [50, 50], [50, 90], [89, 90]), 'decoding'),
      decodeCase(compute, 6, 2, 128, 1000, range([0, 1000], [0, 999], [3, 515]), 'decoding'),
      decodeCase(compute, 4, 2, 16, 60, range([0, 58], [0, 59], [0, 60]), 'chunk of a prompt'),
      decodeCase(compute, 4, 2, 16, 60, range([0, 20], [20, 40], [40, 60]), 'decoding, NaN in k', ['k', 25]),
      decodeCase(compute, 4, 2, 16, 60, range([0, 20], [20, 40], [40, 60]), 'decoding, NaN in v', ['v', 41]),
      decodeCase(compute, 4, 2, 16, 60, range([0, 20], [20, 40], [40, 60]), 'decoding, NaN in q', ['q', 0]),
      decodeCase(compute, 4, 2, 16, 10, range(), 'no queries'),
    );
  }
  return cases;
}

// --- xIELU -----------------------------------------------------------------------------------------------------------

export function xieluCase(count: number, alphaP: number, alphaN: number, isSpecial = false): Case {
  const name = `${count}${isSpecial ? ' with special values' : ''}, alphas ${alphaP}, ${alphaN}`;
  const beta = 0.5;
  const eps = -1e-6;
  const special = [0, -0, eps, -2e-6, -5e-7, 5e-7, -100, 30, -20, 1e-20, -1e-20, NaN];
  const make = (): Float32Array => {
    const x = new Inputs(`xielu ${name}`).normal(count, 2);
    if (isSpecial) x.set(special.slice(0, count));
    return x;
  };
  return {
    op: 'xielu',
    name,
    // Near zero the curve is a difference of almost equal numbers: floor 1 and float32 is what expm1 promises.
    tolerances: { dalphaP: { u: u32, K: count }, dalphaN: { u: u32, K: count }, rest: { u: u32, K: 1 } },
    run(backend) {
      const x = make();
      const [p, n] = [new Float32Array([alphaP]), new Float32Array([alphaN])];
      const out = new Float32Array(count + 1).fill(7);
      backend.xielu(count, x, p, n, beta, eps, out);
      const dout = new Inputs(`back ${name}`).normal(count);
      const dx = new Float32Array(count + 1).fill(7);
      const [dp, dn] = [new Float32Array([2]), new Float32Array([-3])];
      backend.xieluBackward(count, x, p, n, beta, eps, dout, dx, dp, dn);
      const inPlace = dout.slice();
      backend.xieluBackward(count, x, p, n, beta, eps, inPlace, inPlace, new Float32Array(1), new Float32Array(1));
      return { out, dx, inPlace, dalphaP: dp, dalphaN: dn };
    },
    formula() {
      const x = make();
      const p = Math.log(1 + Math.exp(Math.fround(alphaP)));
      const n = beta + Math.log(1 + Math.exp(Math.fround(alphaN)));
      const curve = (v: number): number => (v > 0 ? p * v ** 2 : n * (Math.exp(Math.min(v, eps)) - 1 - v));
      return { out: [...Array.from(x, (v) => curve(v) + beta * v), 7] };
    },
  };
}

// --- SwiGLU and squared ReLU -----------------------------------------------------------------------------------------

export function swigluCase(N: number, F: number, isSpecial = false): Case {
  const name = `${N}x${F}${isSpecial ? ' with special values' : ''}`;
  const special = [0, -0, -100, 30, -20, 88, -88, 1e-20, -1e-20, NaN, Infinity, -Infinity];
  const make = (): Float32Array => {
    const gateUp = new Inputs(`swiglu ${name}`).normal(N * 2 * F, 2);
    if (isSpecial) gateUp.set(special.slice(0, F));
    return gateUp;
  };
  const silu = (a: number): number => a * (1 / (1 + Math.exp(-a)));
  return {
    op: 'swiglu',
    name,
    // Four factors, each rounded: up, gate, its sigmoid (an exponential and a quotient) and dout.
    tolerances: { rest: { u: u32, K: 4 } },
    run(backend) {
      const gateUp = make();
      const out = new Float32Array(N * F + 1).fill(7);
      backend.swiglu(N, F, gateUp, out);
      const dout = new Inputs(`back ${name}`).normal(N * F);
      const dgateUp = new Float32Array(N * 2 * F + 1).fill(7);
      backend.swigluBackward(N, F, gateUp, dout, dgateUp);
      return { out, dgateUp };
    },
    formula() {
      const gateUp = make();
      const out = Array.from({ length: N * F }, (_, i) => {
        const n = Math.floor(i / F);
        return silu(gateUp[n * 2 * F + (i % F)]!) * gateUp[n * 2 * F + F + (i % F)]!;
      });
      return { out: [...out, 7] };
    },
  };
}

export function relu2Case(count: number, isSpecial = false): Case {
  const name = `${count}${isSpecial ? ' with special values' : ''}`;
  const special = [0, -0, -100, 30, 1e-20, -1e-20, NaN, Infinity, -Infinity];
  const make = (): Float32Array => {
    const x = new Inputs(`relu2 ${name}`).normal(count, 2);
    if (isSpecial) x.set(special.slice(0, count));
    return x;
  };
  return {
    op: 'relu2',
    name,
    tolerances: { rest: { u: u32, K: 1 } },
    run(backend) {
      const x = make();
      const out = new Float32Array(count + 1).fill(7);
      backend.relu2(count, x, out);
      const dout = new Inputs(`back ${name}`).normal(count);
      const dx = new Float32Array(count + 1).fill(7);
      backend.relu2Backward(count, x, dout, dx);
      const inPlace = dout.slice();
      backend.relu2Backward(count, x, inPlace, inPlace);
      return { out, dx, inPlace };
    },
    formula() {
      return { out: [...Array.from(make(), (v) => (v < 0 ? 0 : v * v)), 7] };
    },
  };
}

// --- linear + softmax cross-entropy ----------------------------------------------------------------------------------

export function crossEntropyCase(
  compute: Compute,
  N: number,
  D: number,
  V: number,
  kind: 'loss' | 'gradient' | 'some zero' | 'all zero' | 'NaN',
): Case {
  const name = `${compute} ${N}x${D}x${V} ${kind}`;
  const make = (): { x: Float32Array; weight: Float32Array; labels: Int32Array; coefficient: Float32Array | null } => {
    const inputs = new Inputs(`cross-entropy ${name}`);
    const x = inputs.normal(N * D);
    if (kind === 'NaN') x[D] = NaN; // row 1
    const made = { x, weight: inputs.normal(V * D, 2 / Math.sqrt(D)), labels: inputs.below(N, V) };
    if (kind === 'loss') return { ...made, coefficient: null };
    const coefficient = inputs.normal(N);
    if (kind === 'all zero') coefficient.fill(0);
    if (kind === 'some zero') for (let i = 0; i < N; i += 3) coefficient[i] = 0;
    return { ...made, coefficient };
  };
  const back: Tolerance = compute === 'bfloat16' ? { u: u16, K: 1 } : { u: u32, K: D + V };
  return {
    op: 'linearCrossEntropy',
    name,
    tolerances: {
      loss: { u: u32, K: D + V },
      dx: back,
      dweight: compute === 'bfloat16' ? back : { u: u32, K: D + N },
    },
    run(backend) {
      const { x, weight, labels, coefficient } = make();
      const loss = new Float32Array(N + 1).fill(7);
      if (coefficient === null) {
        backend.linearCrossEntropy(compute, N, D, V, x, weight, labels, null, loss, null, null);
        return { loss };
      }
      const dx = new Float32Array(N * D + 1).fill(7);
      const dweight = new Inputs(`start ${name}`).normal(V * D + 1);
      backend.linearCrossEntropy(compute, N, D, V, x, weight, labels, coefficient, loss, dx, dweight);
      return { loss, dx, dweight };
    },
    formula() {
      const { x, weight, labels, coefficient } = make();
      const round = rounding(compute);
      const loss: number[] = [];
      const dx: number[] = [];
      const dweight = Float64Array.from(new Inputs(`start ${name}`).normal(V * D + 1));
      for (let n = 0; n < N; n++) {
        const logits = Array.from({ length: V }, (_, o) =>
          sum(D, (d) => round(x[n * D + d]!) * round(weight[o * D + d]!)),
        );
        const total = sum(V, (o) => Math.exp(logits[o]!));
        loss.push(Math.log(total) - logits[labels[n]!]!);
        if (coefficient === null) continue;
        const c = coefficient[n]!;
        const g = logits.map((l, o) => round(c * (Math.exp(l) / total - (o === labels[n] ? 1 : 0))));
        for (let d = 0; d < D; d++) {
          dx.push(c === 0 ? 0 : sum(V, (o) => g[o]! * round(weight[o * D + d]!)));
          if (c !== 0) for (let o = 0; o < V; o++) dweight[o * D + d]! += g[o]! * round(x[n * D + d]!);
        }
      }
      return { loss: [...loss, 7], ...(coefficient === null ? {} : { dx: [...dx, 7], dweight }) };
    },
  };
}

// --- elementwise, reductions, optimizers -----------------------------------------------------------------------------

function elementwiseCases(count: number): Case[] {
  const name = `${count}`;
  const make = (): Float32Array => {
    const x = new Inputs(`elementwise ${name}`).normal(count + 2);
    x.set([NaN, Infinity, -Infinity, 3.4e38, 1e-40, -0].slice(0, count));
    return x;
  };
  const clean = (): Float32Array => new Inputs(`clean ${name}`).normal(count + 2);
  const tolerances = { rest: exact };
  return [
    {
      op: 'fill',
      name,
      tolerances,
      run(backend) {
        const out = make();
        backend.fill(count, 0.1, out);
        return { out };
      },
    },
    {
      op: 'add',
      name,
      tolerances,
      run(backend) {
        const [a, b, out] = [make(), clean(), new Float32Array(count + 2).fill(7)];
        backend.add(count, a, b, out);
        backend.add(count, a, b, a);
        return { out, a };
      },
    },
    {
      op: 'scale',
      name,
      tolerances,
      run(backend) {
        const x = make();
        backend.scale(count, 0.3, x);
        return { x };
      },
    },
    {
      op: 'sumOfSquares',
      name,
      tolerances: { rest: { u: u32, K: count } },
      run: (backend) => ({
        total: new Float64Array([backend.sumOfSquares(count, clean())]),
        poisoned: new Float64Array([backend.sumOfSquares(count, make())]),
      }),
      formula: () => ({ total: [sum(count, (i) => clean()[i]! ** 2)] }),
    },
    {
      op: 'toBf16',
      name,
      tolerances,
      run(backend) {
        const out = new Uint16Array(count + 2).fill(7);
        const back = new Float32Array(count + 2).fill(7);
        backend.toBf16(count, make(), out);
        backend.fromBf16(count, out, back);
        // Which NaN it is, nobody promises.
        return { out: out.map((half) => ((half & 0x7fff) > 0x7f80 ? 0x7fc0 : half)), back };
      },
      formula: () => ({ back: [...Array.from(make().subarray(0, count), roundToBf16), 7, 7] }),
    },
  ];
}

function optimizerCases(count: number): Case[] {
  const name = `${count}, three steps`;
  const make = (): { p: Float32Array; g: Float32Array; m1: Float32Array; m2: Float32Array; v: Float32Array } => {
    const inputs = new Inputs(`optimizer ${name}`);
    const g = inputs.normal(count + 1, 0.1);
    if (count > 2) g[2] = NaN; // only that element is lost
    const zeros = (): Float32Array => new Float32Array(count + 1);
    return { p: inputs.normal(count + 1), g, m1: zeros(), m2: zeros(), v: zeros() };
  };
  const [beta1, beta2, beta3] = [0.9, 0.999, 0.9999];
  const step = (t: number) => ({
    clip: 0.7,
    lr: 0.01,
    beta1,
    beta2,
    beta3,
    alpha: 4 * t,
    eps: 1e-8,
    weightDecay: 0.1,
    correction1: 1 - beta1 ** t,
    correction2: 1 - beta2 ** t,
  });
  // The averages are small: no floor under their scale. Each step rounds what it stores: K counts the steps.
  const tolerances = { rest: { u: u32, K: 3 * 4, floor: 0 } };
  return [
    {
      op: 'ademamix',
      name,
      tolerances,
      run(backend) {
        const { p, g, m1, m2, v } = make();
        for (const t of [1, 2, 3]) backend.ademamix(count, p, g, m1, m2, v, step(t));
        return { p, m1, m2, v };
      },
      formula() {
        const { p, g } = make();
        const out = Float64Array.from(p);
        for (let i = 0; i < count; i++) {
          let [a, b, v] = [0, 0, 0];
          for (const t of [1, 2, 3]) {
            const gi = g[i]! * 0.7;
            a += (1 - beta1) * (gi - a);
            b += (1 - beta3) * (gi - b);
            v += (1 - beta2) * (gi ** 2 - v);
            const hat = [a / (1 - beta1 ** t), Math.sqrt(v / (1 - beta2 ** t))] as const;
            out[i] = out[i]! - 1e-2 * ((hat[0] + 4 * t * b) / (hat[1] + 1e-8) + 0.1 * out[i]!);
          }
        }
        return { p: out };
      },
    },
    {
      op: 'adamw',
      name,
      tolerances,
      run(backend) {
        const { p, g, m1, v } = make();
        for (const t of [1, 2, 3]) backend.adamw(count, p, g, m1, v, step(t));
        return { p, m: m1, v };
      },
      formula() {
        const { p, g } = make();
        // With one gradient over and over, the corrected averages are that gradient and its square.
        const out = Float64Array.from(p);
        for (let i = 0; i < count; i++) {
          const gi = g[i]! * 0.7;
          for (let t = 0; t < 3; t++) out[i] = out[i]! * (1 - 1e-3) - (1e-2 * gi) / (Math.abs(gi) + 1e-8);
        }
        return { p: out };
      },
    },
  ];
}

// --- the list ----------------------------------------------------------------------------------------------------------

/** Every case, in the order of kernels.h. */
export function backendCases(): Case[] {
  const cases = gemmCases();
  for (const [N, D, V, padding] of [
    [1, 1, 1, -1],
    [33, 17, 5, -1],
    [70, 64, 9, 0],
    [257, 33, 3, 2],
    [0, 8, 4, -1],
    [5, 0, 4, -1],
  ] as const) {
    cases.push(embeddingCase(N, D, V, padding));
  }
  for (const hasDelta of [false, true]) {
    for (const [N, D] of [
      [1, 1],
      [3, 3],
      [33, 17],
      [70, 64],
      [5, 65],
      [130, 257],
      [2, 1000],
      [0, 16],
      [4, 0],
    ] as const) {
      cases.push(rmsNormCase(N, D, hasDelta));
    }
    cases.push(rmsNormCase(9, 33, hasDelta, 4));
  }
  for (const [N, H, K, hd] of [
    [1, 1, 1, 2],
    [5, 4, 2, 16],
    [33, 6, 3, 64],
    [7, 8, 1, 34],
    [70, 4, 4, 128],
    [129, 2, 1, 6],
    [0, 2, 1, 8],
  ] as const) {
    cases.push(qkNormRopeCase(N, H, K, hd));
  }
  cases.push(qkNormRopeCase(9, 4, 2, 16, 5));
  cases.push(...attentionCases());
  for (const count of [0, 1, 3, 17, 33, 4097, 10000]) cases.push(xieluCase(count, 0.8, 0.6));
  cases.push(xieluCase(40, -3, 5, true), xieluCase(19, 0.8, 0.8, true));
  for (const [N, F] of [
    [1, 1],
    [3, 5],
    [17, 33],
    [70, 64],
    [2, 1000],
    [0, 16],
    [4, 0],
  ] as const) {
    cases.push(swigluCase(N, F), relu2Case(N * F));
  }
  cases.push(swigluCase(3, 40, true), relu2Case(40, true));
  for (const compute of computes) {
    for (const [N, D, V] of [
      [1, 1, 1],
      [3, 5, 7],
      [17, 33, 65],
      [33, 64, 257],
      [65, 17, 500],
      [130, 32, 129],
      [0, 8, 5],
    ] as const) {
      for (const kind of ['loss', 'gradient', 'some zero', 'all zero'] as const) {
        cases.push(crossEntropyCase(compute, N, D, V, kind));
      }
    }
    cases.push(crossEntropyCase(compute, 5, 16, 33, 'NaN'));
  }
  for (const count of [0, 1, 15, 16, 17, 4095, 4097, 9001]) cases.push(...elementwiseCases(count));
  for (const count of [0, 1, 3, 17, 64, 4097]) cases.push(...optimizerCases(count));
  return cases;
}

/** Larger shapes, so that every thread has work: their bits must not depend on how many threads there are. */
export function threadCases(): Case[] {
  const cases: Case[] = [];
  for (const compute of computes) {
    cases.push(
      gemmCase(compute, false, true, false, 300, 260, 200),
      gemmCase(compute, true, false, true, 150, 170, 900),
      gemmCase(compute, false, true, false, 1, 700, 300),
      attentionCase(compute, 2, 200, 4, 2, 32, packed([150, 50, 1, 199]), 'packed documents'),
      crossEntropyCase(compute, 300, 64, 700, 'gradient'),
    );
  }
  cases.push(embeddingCase(900, 65, 20, 3), rmsNormCase(600, 200, true), qkNormRopeCase(500, 6, 2, 32));
  cases.push(swigluCase(700, 133), relu2Case(100003));
  cases.push(xieluCase(100003, 0.8, 0.6), ...elementwiseCases(100003), ...optimizerCases(100003));
  return cases;
}
