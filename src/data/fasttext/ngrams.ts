// The rows of a fastText model that a text stands for: its words, its character n-grams and its word n-grams.
//
// Words have rows of their own, n-grams share `bucket` rows behind them by FNV-1a hashes of their bytes. After
// facebookresearch/fastText (dictionary.cc, MIT). native/data/classifier.inl does the same.
//
// Does not: hold rows, or read files.
import { fnv, fnvStep, type WordTable } from './words.ts';

/** Begins the labels in files of the original. */
export const labelPrefix = '__label__';
const prefixBytes = Buffer.from(labelPrefix);
/** A line ends with this token, written out or not. */
export const endOfLine = Buffer.from('</s>');

export interface Hashing {
  /** Longest run of words that has a row. */
  readonly wordNgrams: number;
  /** Rows that n-grams share. */
  readonly bucket: number;
  /** Characters of the shortest and the longest n-gram within a word; 0: none. */
  readonly minn: number;
  readonly maxn: number;
}

export class Ngrams {
  readonly words: WordTable;
  readonly hashing: Hashing;
  /** The rows that are left of the shared ones, by their number before. */
  readonly pruned: ReadonlyMap<number, number> | undefined;

  constructor(words: WordTable, hashing: Hashing, pruned?: ReadonlyMap<number, number>) {
    this.words = words;
    this.hashing = hashing;
    this.pruned = pruned;
  }

  /** Adds the rows of a token: its own (`word` is its number, -1: none) and those of its character n-grams. */
  addToken(rows: number[], bytes: Uint8Array, start: number, end: number, word: number): void {
    if (word >= 0) rows.push(word);
    const { minn, maxn, bucket } = this.hashing;
    if (maxn <= 0 || isEndOfLine(bytes, start, end)) return;
    // A word stands between < and >.
    const last = end + 1;
    const at = (i: number): number => (i < start ? 0x3c : i < end ? (bytes[i] as number) : 0x3e);
    for (let i = start - 1; i < last; i++) {
      if ((at(i) & 0xc0) === 0x80) continue;
      let hash = emptyHash;
      for (let j = i, n = 1; j < last && n <= maxn; n++) {
        hash = fnvStep(hash, at(j++));
        while (j < last && (at(j) & 0xc0) === 0x80) hash = fnvStep(hash, at(j++));
        if (n >= minn && !(n === 1 && (i < start || j === last))) this.addHash(rows, (hash >>> 0) % bucket);
      }
    }
  }

  /** Adds the rows of runs of two and more tokens, given by their hashes. */
  addRuns(rows: number[], hashes: ArrayLike<number>): void {
    const { wordNgrams, bucket } = this.hashing;
    for (let i = 0; i < hashes.length && wordNgrams > 1; i++) {
      let hash = BigInt(hashes[i] as number);
      for (let j = i + 1; j < hashes.length && j < i + wordNgrams; j++) {
        hash = BigInt.asUintN(64, hash * 116049371n + BigInt(hashes[j] as number));
        this.addHash(rows, Number(hash % BigInt(bucket)));
      }
    }
  }

  private addHash(rows: number[], hash: number): void {
    const row = this.pruned ? this.pruned.get(hash) : hash;
    if (row !== undefined) rows.push(this.words.size + row);
  }
}

const emptyHash = fnv(endOfLine, 0, 0);

/**
 * Calls `each` for the tokens of one line of text (line breaks count as spaces) and the end of the line. Words that look
 * like labels are left out unless `words` has them.
 */
export function eachToken(
  bytes: Uint8Array,
  length: number,
  words: WordTable,
  each: (bytes: Uint8Array, start: number, end: number, hash: number) => void,
): void {
  let start = 0;
  for (let i = 0; i <= length; i++) {
    if (i < length && !isSpace(bytes[i] as number)) continue;
    if (i > start) {
      const hash = fnv(bytes, start, i);
      if (!isLabel(bytes, start, i) || words.find(bytes, start, i, hash) >= 0) each(bytes, start, i, hash);
      // What stands behind a written end is another line.
      if (isEndOfLine(bytes, start, i)) return;
    }
    start = i + 1;
  }
  each(endOfLine, 0, endOfLine.length, endHash);
}

const endHash = fnv(endOfLine, 0, endOfLine.length);

/** Space, line feed, carriage return, tab, vertical tab, form feed, zero. */
function isSpace(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13) || byte === 0;
}

function isEndOfLine(bytes: Uint8Array, start: number, end: number): boolean {
  return end - start === endOfLine.length && beginsWith(endOfLine, bytes, start);
}

function isLabel(bytes: Uint8Array, start: number, end: number): boolean {
  return end - start >= prefixBytes.length && beginsWith(prefixBytes, bytes, start);
}

function beginsWith(what: Uint8Array, bytes: Uint8Array, start: number): boolean {
  for (let i = 0; i < what.length; i++) if (bytes[start + i] !== what[i]) return false;
  return true;
}
