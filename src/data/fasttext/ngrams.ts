// The rows of a fastText model that a text stands for: its words, its character n-grams and its word n-grams.
//
// Words have rows of their own, n-grams share `bucket` rows behind them by FNV-1a hashes of their bytes. Strings of tokens
// hold one UTF-8 byte per character. After facebookresearch/fastText (dictionary.cc, MIT).
//
// Does not: hold rows, or read files.

/** Begins the labels in files of the original. */
export const labelPrefix = '__label__';
/** A line ends with this token, written out or not. */
export const endOfLine = '</s>';

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
  readonly wordNgrams: number;
  private readonly words: ReadonlyMap<string, number>;
  private readonly hashing: Hashing;
  /** Row behind the words by hash, -1 where the file left it out; undefined where it left out none. */
  private readonly left: Int32Array | undefined;
  private rows = new Int32Array(1024);
  private count = 0;

  /** `pruned`: the rows that are left of the shared ones, by their number before. */
  constructor(words: ReadonlyMap<string, number>, hashing: Hashing, pruned?: ReadonlyMap<number, number>) {
    this.words = words;
    this.hashing = hashing;
    if (pruned) this.left = new Int32Array(hashing.bucket).fill(-1);
    for (const [hash, row] of pruned ?? []) if (this.left) this.left[hash] = row;
    this.wordNgrams = hashing.wordNgrams;
  }

  /** Labels in a text are not part of it. */
  isPassedOver(token: string): boolean {
    return token.startsWith(labelPrefix) && !this.words.has(token);
  }

  /** Rows of a token: its own and those of its character n-grams. What is answered is overwritten by the next call. */
  rowsOfToken(token: string): Int32Array {
    this.count = 0;
    const word = this.words.get(token);
    if (word !== undefined) this.add(word);
    if (this.hashing.maxn > 0 && token !== endOfLine) this.addSubwords(`<${token}>`);
    return this.rows.subarray(0, this.count);
  }

  /** Rows of runs of two and more tokens, given by their hashes (`fnv`). What is answered is overwritten by the next call. */
  rowsOfWords(hashes: readonly number[]): Int32Array {
    this.count = 0;
    const { wordNgrams } = this.hashing;
    for (let i = 0; i < hashes.length && wordNgrams > 1; i++) {
      let hash = BigInt((hashes[i] as number) | 0);
      for (let j = i + 1; j < hashes.length && j < i + wordNgrams; j++) {
        hash = BigInt.asUintN(64, hash * 116049371n + BigInt((hashes[j] as number) | 0));
        this.addHash(Number(hash % BigInt(this.hashing.bucket)));
      }
    }
    return this.rows.subarray(0, this.count);
  }

  private addSubwords(word: string): void {
    const { minn, maxn, bucket } = this.hashing;
    for (let i = 0; i < word.length; i++) {
      if (isContinuation(word, i)) continue;
      let hash = fnvStart;
      for (let j = i, n = 1; j < word.length && n <= maxn; n++) {
        hash = fnvStep(hash, word.charCodeAt(j++));
        while (j < word.length && isContinuation(word, j)) hash = fnvStep(hash, word.charCodeAt(j++));
        if (n >= minn && !(n === 1 && (i === 0 || j === word.length))) this.addHash((hash >>> 0) % bucket);
      }
    }
  }

  private addHash(hash: number): void {
    const row = this.left ? (this.left[hash] as number) : hash;
    if (row >= 0) this.add(this.words.size + row);
  }

  private add(row: number): void {
    if (this.count === this.rows.length) {
      const larger = new Int32Array(2 * this.count);
      larger.set(this.rows);
      this.rows = larger;
    }
    this.rows[this.count++] = row;
  }
}

/** Space, line feed, carriage return, tab, vertical tab, form feed, zero. */
export function isSpace(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13) || byte === 0;
}

export const fnvStart = 2166136261;

/** FNV-1a over bytes taken as signed, as the C++ does. */
export function fnvStep(hash: number, byte: number): number {
  return Math.imul(hash ^ ((byte << 24) >> 24), 16777619);
}

export function fnv(bytes: string): number {
  let hash = fnvStart;
  for (let i = 0; i < bytes.length; i++) hash = fnvStep(hash, bytes.charCodeAt(i));
  return hash >>> 0;
}

function isContinuation(bytes: string, at: number): boolean {
  return (bytes.charCodeAt(at) & 0xc0) === 0x80;
}
