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
  private readonly pruned: ReadonlyMap<number, number> | undefined;

  /** `pruned`: the rows that are left of the shared ones, by their number before. */
  constructor(words: ReadonlyMap<string, number>, hashing: Hashing, pruned?: ReadonlyMap<number, number>) {
    this.words = words;
    this.hashing = hashing;
    this.pruned = pruned;
    this.wordNgrams = hashing.wordNgrams;
  }

  /** Calls `each` for the tokens of one line of text (line breaks count as spaces) and the end of the line. */
  eachToken(text: string, each: (token: string) => void): void {
    tokensOf(text, (token) => {
      if (!token.startsWith(labelPrefix) || this.words.has(token)) each(token);
    });
  }

  /** Hash of a token, for `rowsOfWords`. */
  hashOf(token: string): number {
    return fnv(token);
  }

  /** Rows of a token: its own and those of its character n-grams. */
  rowsOfToken(token: string): number[] {
    const rows: number[] = [];
    const word = this.words.get(token);
    if (word !== undefined) rows.push(word);
    if (this.hashing.maxn > 0 && token !== endOfLine) this.addSubwords(rows, `<${token}>`);
    return rows;
  }

  /** Rows of runs of two and more tokens, given by their hashes. */
  rowsOfWords(hashes: readonly number[]): number[] {
    const rows: number[] = [];
    const { wordNgrams } = this.hashing;
    for (let i = 0; i < hashes.length && wordNgrams > 1; i++) {
      let hash = BigInt((hashes[i] as number) | 0);
      for (let j = i + 1; j < hashes.length && j < i + wordNgrams; j++) {
        hash = BigInt.asUintN(64, hash * 116049371n + BigInt((hashes[j] as number) | 0));
        this.addHash(rows, Number(hash % BigInt(this.hashing.bucket)));
      }
    }
    return rows;
  }

  private addSubwords(rows: number[], word: string): void {
    const { minn, maxn, bucket } = this.hashing;
    for (let i = 0; i < word.length; i++) {
      if (isContinuation(word, i)) continue;
      let hash = fnvStart;
      for (let j = i, n = 1; j < word.length && n <= maxn; n++) {
        hash = fnvStep(hash, word.charCodeAt(j++));
        while (j < word.length && isContinuation(word, j)) hash = fnvStep(hash, word.charCodeAt(j++));
        if (n >= minn && !(n === 1 && (i === 0 || j === word.length))) this.addHash(rows, (hash >>> 0) % bucket);
      }
    }
  }

  private addHash(rows: number[], hash: number): void {
    const row = this.pruned && this.pruned.size > 0 ? this.pruned.get(hash) : this.pruned ? undefined : hash;
    if (row !== undefined) rows.push(this.words.size + row);
  }
}

/** Calls `each` for the pieces of a text between white space, as bytes, and for the end of the line. */
export function tokensOf(text: string, each: (token: string) => void): void {
  const bytes = Buffer.from(text, 'utf8');
  let start = 0;
  for (let i = 0; i <= bytes.length; i++) {
    if (i < bytes.length && !isSpace(bytes[i] as number)) continue;
    if (i > start) {
      const token = bytes.toString('latin1', start, i);
      each(token);
      // What stands behind a written end is another line.
      if (token === endOfLine) return;
    }
    start = i + 1;
  }
  each(endOfLine);
}

/** Space, line feed, carriage return, tab, vertical tab, form feed, zero. */
function isSpace(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13) || byte === 0;
}

const fnvStart = 2166136261;

/** FNV-1a over bytes taken as signed, as the C++ does. */
function fnvStep(hash: number, byte: number): number {
  return Math.imul(hash ^ ((byte << 24) >> 24), 16777619);
}

function fnv(bytes: string): number {
  let hash = fnvStart;
  for (let i = 0; i < bytes.length; i++) hash = fnvStep(hash, bytes.charCodeAt(i));
  return hash >>> 0;
}

function isContinuation(bytes: string, at: number): boolean {
  return (bytes.charCodeAt(at) & 0xc0) === 0x80;
}
