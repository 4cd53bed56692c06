// The Goldfish mask: one label in k is left out of the loss, chosen by a hash of the last h labels, so that a passage
// that is met again loses the same labels and cannot be learnt by heart.
//
// For i >= h-1: key = (labels[i-h+1] * ... * labels[i] in wrapping signed 64-bit arithmetic) mod 1,000,003, not
// negative; label i is masked when table[key] < 1/k. The window holds the label itself and may cross documents.
// Rows shorter than h have nothing masked (the original raises an error there).
// Source: Hans et al. 2024; swiss-ai/Megatron-LM, gpt_dataset.py. With h = 50 a tenth of the products is 0 modulo 2^64
// and key 0 is never masked, so a little less than 1/k of the labels goes: intended.
//
// Does not: change labels, only the mask.
import { Mt19937 } from '../base/rng.ts';

export interface Goldfish {
  readonly k: number;
  readonly h: number;
}

const tableSize = 1_000_003;
/** Seed of the published table. */
const tableSeed = 2971215073;
/** 2^32 mod 1,000,003. */
const wordModulo = 4294967296 % tableSize;
const inverseOfSize = 1 / tableSize;

let table: Float32Array | undefined;

/** [1,000,003] uniform numbers: the low 24 bits of each MT19937 output times 2^-24, as torch.rand makes them. */
export function goldfishTable(): Float32Array {
  if (!table) {
    table = new Float32Array(tableSize);
    const random = new Mt19937(tableSeed);
    for (let i = 0; i < tableSize; i++) table[i] = (random.bits() & 0xffffff) * 2 ** -24;
  }
  return table;
}

/** Sets the mask [T] to zero at the labels [T] that are left out. */
export function maskGoldfish(lossMask: Float32Array, labels: Int32Array, { k, h }: Goldfish): void {
  const n = labels.length;
  if (n < h) return;
  const numbers = goldfishTable();
  const limit = Math.fround(1 / k);
  // The product over a window is a product of two: from its start to the end of a block of h labels, and from there
  // on. Both are running products, so the cost does not depend on h (van Herk's trick). 64-bit numbers are two words.
  const toBlockEndHigh = new Int32Array(n);
  const toBlockEndLow = new Int32Array(n);
  let high = 0;
  let low = 1;
  let left = n % h || h;
  for (let i = n - 1; i >= 0; i--) {
    const label = labels[i] as number;
    high = highWord(high, low, label >> 31, label);
    low = Math.imul(low, label);
    toBlockEndHigh[i] = high;
    toBlockEndLow[i] = low;
    if (--left === 0) {
      high = 0;
      low = 1;
      left = h;
    }
  }
  high = 0;
  low = 1;
  left = h;
  for (let i = 0; i < n; i++) {
    const label = labels[i] as number;
    high = highWord(high, low, label >> 31, label);
    low = Math.imul(low, label);
    // At the end of a block the window is the block.
    const whole = --left === 0;
    const start = i - h + 1;
    if (start >= 0) {
      const startHigh = toBlockEndHigh[start] as number;
      const startLow = toBlockEndLow[start] as number;
      const key = whole
        ? modulo(high, low)
        : modulo(highWord(startHigh, startLow, high, low), Math.imul(startLow, low));
      if ((numbers[key] as number) < limit) lossMask[i] = 0;
    }
    if (whole) {
      high = 0;
      low = 1;
      left = h;
    }
  }
}

/** Signed 64-bit value, given as two 32-bit words, modulo the table size; never negative. */
export function modulo(high: number, low: number): number {
  // The remainder of the high word may be negative here; the sum is a whole number below 2^41 in size.
  const value = ((high | 0) % tableSize) * wordModulo + (low >>> 0);
  // The quotient, rounded, is off by one at most.
  const rest = value - Math.floor(value * inverseOfSize) * tableSize;
  return rest < 0 ? rest + tableSize : rest >= tableSize ? rest - tableSize : rest;
}

/** The upper word of (high, low) * (otherHigh, otherLow), modulo 2^64; the lower one is Math.imul(low, otherLow). */
function highWord(high: number, low: number, otherHigh: number, otherLow: number): number {
  const a = low >>> 0;
  // The upper half of the 64 bits of low * otherLow; every product and sum stays below 2^53.
  const carry = Math.floor((a * (otherLow >>> 16) + Math.floor(a * (otherLow & 0xffff) * 2 ** -16)) * 2 ** -16);
  return (carry + Math.imul(high, otherLow) + Math.imul(low, otherHigh)) | 0;
}
