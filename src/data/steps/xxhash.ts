// XXH64 and XXH32 (Yann Collet, github.com/Cyan4973/xxHash, doc/xxhash_spec.md): what the data kernels of native/data/
// compute, in TypeScript, for where there is no native library and as its oracle.
//
// 64-bit values are pairs of unsigned 32-bit halves. `hashRanges` takes the native kernel where it is there.
//
// Does not: resist somebody who looks for collisions.
import { nativeLibrary, type NativeModule } from '../../base/native.ts';

/** The data kernels, or undefined where the library is missing or older than these sources. */
export function dataKernels(): NativeModule | undefined {
  const library = nativeLibrary();
  return 'module' in library && typeof library.module.dataTrain === 'function' ? library.module : undefined;
}

/** XXH64 of the bytes [start, end) of each range. */
export function hashRanges(
  bytes: Uint8Array,
  starts: Int32Array,
  ends: Int32Array,
  seed: number,
  out: BigUint64Array,
  kernels: NativeModule | null = dataKernels() ?? null,
): void {
  if (kernels) {
    kernels.dataHashes(bytes, starts, ends, seed, out);
    return;
  }
  const words = new Uint32Array(out.buffer, out.byteOffset, out.length * 2);
  for (let i = 0; i < starts.length; i++) {
    xxh64(bytes, starts[i] as number, ends[i] as number, seed);
    words[2 * i] = low;
    words[2 * i + 1] = high;
  }
}

/** Halves of the last result. */
export let high = 0;
export let low = 0;

/** (high, low) = a * b modulo 2^64. */
export function multiply(ah: number, al: number, bh: number, bl: number): void {
  const a0 = al & 0xffff;
  const a1 = al >>> 16;
  const b0 = bl & 0xffff;
  const b1 = bl >>> 16;
  const p00 = a0 * b0;
  const first = a0 * b1 + (p00 >>> 16);
  const second = a1 * b0 + (first & 0xffff);
  const top = a1 * b1 + (first >>> 16) + (second >>> 16);
  high = (top + Math.imul(ah, bl) + Math.imul(al, bh)) >>> 0;
  low = ((second << 16) | (p00 & 0xffff)) >>> 0;
}

/** (high, low) = a + b modulo 2^64. */
export function add(ah: number, al: number, bh: number, bl: number): void {
  const sum = al + bl;
  low = sum >>> 0;
  high = (ah + bh + (sum > 0xffffffff ? 1 : 0)) >>> 0;
}

/** (high, low) turned to the left by n, 0 < n < 32. */
function turn(n: number): void {
  const h = high;
  high = ((h << n) | (low >>> (32 - n))) >>> 0;
  low = ((low << n) | (h >>> (32 - n))) >>> 0;
}

const [p1h, p1l] = [0x9e3779b1, 0x85ebca87];
const [p2h, p2l] = [0xc2b2ae3d, 0x27d4eb4f];
const [p3h, p3l] = [0x165667b1, 0x9e3779f9];
const [p4h, p4l] = [0x85ebca77, 0xc2b2ae63];
const [p5h, p5l] = [0x27d4eb2f, 0x165667c5];

/** (high, low) = turn(lane + x * P2, 31) * P1. */
function round(laneHigh: number, laneLow: number, xh: number, xl: number): void {
  multiply(xh, xl, p2h, p2l);
  add(laneHigh, laneLow, high, low);
  turn(31);
  multiply(high, low, p1h, p1l);
}

function word(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}

const lanes = new Uint32Array(8);

/** (high, low) = XXH64 of the bytes [start, end); `seed` is below 2^53. */
export function xxh64(bytes: Uint8Array, start: number, end: number, seed = 0): void {
  const seedHigh = Math.floor(seed / 2 ** 32);
  const seedLow = seed >>> 0;
  let at = start;
  if (end - start >= 32) {
    add(p1h, p1l, p2h, p2l);
    add(high, low, seedHigh, seedLow);
    lanes.set([high, low, 0, 0, seedHigh, seedLow, 0, 0]);
    add(p2h, p2l, seedHigh, seedLow);
    lanes.set([high, low], 2);
    // seed - P1
    add(seedHigh, seedLow, ~p1h >>> 0, ~p1l >>> 0);
    add(high, low, 0, 1);
    lanes.set([high, low], 6);
    for (; end - at >= 32; at += 32) {
      for (let lane = 0; lane < 4; lane++) {
        const place = at + 8 * lane;
        round(lanes[2 * lane] as number, lanes[2 * lane + 1] as number, word(bytes, place + 4), word(bytes, place));
        lanes[2 * lane] = high;
        lanes[2 * lane + 1] = low;
      }
    }
    let sumHigh = 0;
    let sumLow = 0;
    for (const [lane, n] of [1, 7, 12, 18].entries()) {
      high = lanes[2 * lane] as number;
      low = lanes[2 * lane + 1] as number;
      turn(n);
      add(sumHigh, sumLow, high, low);
      sumHigh = high;
      sumLow = low;
    }
    for (let lane = 0; lane < 4; lane++) {
      round(0, 0, lanes[2 * lane] as number, lanes[2 * lane + 1] as number);
      multiply((sumHigh ^ high) >>> 0, (sumLow ^ low) >>> 0, p1h, p1l);
      add(high, low, p4h, p4l);
      sumHigh = high;
      sumLow = low;
    }
  } else add(seedHigh, seedLow, p5h, p5l);
  add(high, low, 0, end - start);
  for (; end - at >= 8; at += 8) {
    const sumHigh = high;
    const sumLow = low;
    round(0, 0, word(bytes, at + 4), word(bytes, at));
    high = (sumHigh ^ high) >>> 0;
    low = (sumLow ^ low) >>> 0;
    turn(27);
    multiply(high, low, p1h, p1l);
    add(high, low, p4h, p4l);
  }
  if (end - at >= 4) {
    const sumHigh = high;
    const sumLow = low;
    multiply(0, word(bytes, at), p1h, p1l);
    high = (sumHigh ^ high) >>> 0;
    low = (sumLow ^ low) >>> 0;
    turn(23);
    multiply(high, low, p2h, p2l);
    add(high, low, p3h, p3l);
    at += 4;
  }
  for (; at < end; at++) {
    const sumHigh = high;
    const sumLow = low;
    multiply(0, bytes[at] as number, p5h, p5l);
    high = (sumHigh ^ high) >>> 0;
    low = (sumLow ^ low) >>> 0;
    turn(11);
    multiply(high, low, p1h, p1l);
  }
  // h ^ h >> 33, then h ^ h >> 29, then h ^ h >> 32.
  low = (low ^ (high >>> 1)) >>> 0;
  multiply(high, low, p2h, p2l);
  low = (low ^ ((low >>> 29) | (high << 3))) >>> 0;
  high = (high ^ (high >>> 29)) >>> 0;
  multiply(high, low, p3h, p3l);
  low = (low ^ high) >>> 0;
}

const turn32 = (x: number, n: number): number => (x << n) | (x >>> (32 - n));
const [q1, q2, q3, q4, q5] = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f, 0x165667b1];

/** XXH32 of the bytes [start, end). */
export function xxh32(bytes: Uint8Array, start: number, end: number, seed = 0): number {
  let at = start;
  let h: number;
  if (end - start >= 16) {
    const sums = [(seed + q1 + q2) | 0, (seed + q2) | 0, seed | 0, (seed - q1) | 0];
    for (; end - at >= 16; at += 16) {
      for (let lane = 0; lane < 4; lane++) {
        const sum = ((sums[lane] as number) + Math.imul(word(bytes, at + 4 * lane), q2)) | 0;
        sums[lane] = Math.imul(turn32(sum, 13), q1);
      }
    }
    const [a = 0, b = 0, c = 0, d = 0] = sums;
    h = turn32(a, 1) + turn32(b, 7) + turn32(c, 12) + turn32(d, 18);
  } else h = seed + q5;
  h = (h + end - start) | 0;
  for (; end - at >= 4; at += 4) h = Math.imul(turn32((h + Math.imul(word(bytes, at), q3)) | 0, 17), q4);
  for (; at < end; at++) h = Math.imul(turn32((h + Math.imul(bytes[at] as number, q5)) | 0, 11), q1);
  h = Math.imul(h ^ (h >>> 15), q2);
  h = Math.imul(h ^ (h >>> 13), q3);
  return (h ^ (h >>> 16)) >>> 0;
}
