// The vector of a text: the mean of the rows that it stands for, by the native kernel or in TypeScript.
//
// Rows are summed token by token and the sums added up, all in float32 and in this order, so both give the same bits.
// Texts repeat their words: sums of tokens are kept, which never changes one.
//
// Does not: read models (model.ts).
import type { NativeModule } from '../../base/native.ts';
import { dataKernels } from '../steps/xxhash.ts';
import { eachToken, type Ngrams } from './ngrams.ts';
import { WordTable } from './words.ts';

const encoder = new TextEncoder();

export class TextVectors {
  readonly dimension: number;
  private readonly ngrams: Ngrams;
  private readonly rows: Float32Array;
  private readonly engine: (bytes: Uint8Array, length: number, into: Float32Array) => number;
  private bytes = new Uint8Array(1 << 14);

  /** `rows`: of all words, then the shared ones, `dimension` numbers each. */
  constructor(
    ngrams: Ngrams,
    rows: Float32Array,
    dimension: number,
    kernels: NativeModule | null = dataKernels() ?? null,
  ) {
    this.ngrams = ngrams;
    this.rows = rows;
    this.dimension = dimension;
    this.engine = kernels ? this.nativeEngine(kernels) : this.plainEngine();
  }

  /** The mean of the rows of one line of text (line breaks count as spaces) into `into`; false where there are none. */
  mean(text: string, into: Float32Array): boolean {
    if (this.bytes.length < 3 * text.length) this.bytes = new Uint8Array(6 * text.length);
    const { written } = encoder.encodeInto(text, this.bytes);
    into.fill(0);
    const count = this.engine(this.bytes, written, into);
    if (count === 0) return false;
    const scale = Math.fround(1 / count);
    for (let i = 0; i < into.length; i++) into[i] = (into[i] as number) * scale;
    return true;
  }

  private nativeEngine(kernels: NativeModule): (bytes: Uint8Array, length: number, into: Float32Array) => number {
    const { words, hashing, pruned } = this.ngrams;
    const shape = Int32Array.of(words.size, hashing.bucket, hashing.minn, hashing.maxn, hashing.wordNgrams);
    const left = pruned === undefined ? new Int32Array(0) : pairTable(pruned);
    const kept = new Float32Array(keptTokens * (keptHeader + this.dimension));
    return (bytes, length, into) =>
      kernels.dataTextSum(
        bytes,
        length,
        shape,
        words.slots,
        words.hashes,
        words.starts,
        words.pool,
        left,
        this.rows,
        kept,
        into,
      );
  }

  private plainEngine(): (bytes: Uint8Array, length: number, into: Float32Array) => number {
    const { ngrams, rows, dimension } = this;
    const { words } = ngrams;
    const { wordNgrams } = ngrams.hashing;
    const tokens = new WordTable();
    let sums = new Float32Array(1024 * dimension);
    const counts = new Int32Array(maxTokens);
    const found: number[] = [];
    const sumOf = (into: Float32Array, base: number): number => {
      into.fill(0, base, base + dimension);
      for (const row of found) {
        const from = row * dimension;
        for (let i = 0; i < dimension; i++) into[base + i] = (into[base + i] as number) + (rows[from + i] as number);
      }
      return found.length;
    };
    const once = new Float32Array(dimension);
    return (text, length, into) => {
      let count = 0;
      const hashes: number[] = [];
      eachToken(text, length, words, (bytes, start, end, hash) => {
        if (wordNgrams > 1) hashes.push(hash);
        let place = tokens.find(bytes, start, end, hash);
        let from = sums;
        if (place < 0) {
          found.length = 0;
          ngrams.addToken(found, bytes, start, end, words.find(bytes, start, end, hash));
          // A token that hardly comes again is not kept.
          if (end - start > 64) {
            from = once;
            place = 0;
            count += sumOf(once, 0);
          } else {
            if (tokens.size === maxTokens) tokens.clear();
            place = tokens.add(bytes, start, end, hash);
            if ((place + 1) * dimension > sums.length) {
              const wider = new Float32Array(2 * sums.length);
              wider.set(sums);
              sums = wider;
            }
            counts[place] = sumOf(sums, place * dimension);
            from = sums;
            count += found.length;
          }
        } else {
          count += counts[place] as number;
        }
        const base = place * dimension;
        for (let i = 0; i < dimension; i++) into[i] = (into[i] as number) + (from[base + i] as number);
      });
      found.length = 0;
      ngrams.addRuns(found, hashes);
      for (const row of found) {
        const from = row * dimension;
        for (let i = 0; i < dimension; i++) into[i] = (into[i] as number) + (rows[from + i] as number);
      }
      return count + found.length;
    };
  }
}

const maxTokens = 1 << 17;

/** What the native kernel keeps: places for tokens, and words of a place before its sum. */
const keptTokens = 1 << 16;
const keptHeader = 8;

/** Pairs by open addressing: the key and 1 (0: free), then the value; a quarter full at most. */
function pairTable(pairs: ReadonlyMap<number, number>): Int32Array {
  let slots = 4;
  while (slots < 4 * pairs.size) slots *= 2;
  const table = new Int32Array(2 * slots);
  for (const [key, value] of pairs) {
    let at = Math.imul(key, 0x9e3779b1) & (slots - 1);
    while (table[2 * at] !== 0) at = (at + 1) & (slots - 1);
    table[2 * at] = key + 1;
    table[2 * at + 1] = value;
  }
  return table;
}
