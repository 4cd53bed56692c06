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
  for (let i = n - 1; i >= 0; i--) {
    const label = labels[i] as number;
    if ((i + 1) % h === 0 || i === n - 1) {
      toBlockEndLow[i] = label;
      toBlockEndHigh[i] = label >> 31;
    } else {
      multiply(toBlockEndHigh[i + 1] as number, toBlockEndLow[i + 1] as number, label);
      toBlockEndHigh[i] = productHigh;
      toBlockEndLow[i] = productLow;
    }
  }
  let high = 0;
  let low = 1;
  for (let i = 0; i < n; i++) {
    if (i % h === 0) {
      high = 0;
      low = 1;
    }
    multiply(high, low, labels[i] as number);
    high = productHigh;
    low = productLow;
    const start = i - h + 1;
    if (start < 0) continue;
    let key: number;
    if (start % h === 0) {
      key = modulo(high, low);
    } else {
      multiplyLong(toBlockEndHigh[start] as number, toBlockEndLow[start] as number, high, low);
      key = modulo(productHigh, productLow);
    }
    if ((numbers[key] as number) < limit) lossMask[i] = 0;
  }
}

/** Signed 64-bit value, given as two 32-bit words, modulo the table size; never negative. */
export function modulo(high: number, low: number): number {
  let top = (high | 0) % tableSize;
  if (top < 0) top += tableSize;
  return (top * wordModulo + (low >>> 0)) % tableSize;
}

// The words of the last product; results in variables keep the inner loop free of objects.
let productHigh = 0;
let productLow = 0;

/** (high, low) * label, modulo 2^64. */
function multiply(high: number, low: number, label: number): void {
  multiplyLong(high, low, label >> 31, label);
}

/** (high, low) * (otherHigh, otherLow), modulo 2^64. */
function multiplyLong(high: number, low: number, otherHigh: number, otherLow: number): void {
  const a0 = low & 0xffff;
  const a1 = low >>> 16;
  const b0 = otherLow & 0xffff;
  const b1 = otherLow >>> 16;
  // The full 64 bits of low * otherLow; every sum stays below 2^53.
  const middle = a1 * b0 + Math.floor((a0 * b0) / 65536);
  const cross = (middle % 65536) + a0 * b1;
  const carry = a1 * b1 + Math.floor(middle / 65536) + Math.floor(cross / 65536);
  productLow = Math.imul(low, otherLow);
  productHigh = ((carry | 0) + Math.imul(high, otherLow) + Math.imul(low, otherHigh)) | 0;
}
