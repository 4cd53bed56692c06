// Reads fastText models (.bin and quantised .ftz, format version 12) and classifies text with them.
//
// The layout and the arithmetic follow facebookresearch/fastText (MIT): byte n-grams by FNV-1a hash, the mean of
// their rows, product-quantised matrices, and softmax or the Huffman tree of hierarchical softmax.
// Checked against the authors' own code compiled to wasm (language-id.test.ts).
//
// Does not: train (train.ts), and reads supervised models only.
import { readFileSync } from 'node:fs';
import { endOfLine, fnv, fnvStart, fnvStep, type Hashing, isSpace, labelPrefix, Ngrams } from './ngrams.ts';

/** FASTTEXT_FILEFORMAT_MAGIC_INT32 */
export const magic = 793712314;
export const fileVersion = 12;
const lossNames = { 1: 'hierarchical softmax', 2: 'negative sampling', 3: 'softmax', 4: 'one against all' } as const;

export interface Prediction {
  /** Without the prefix `__label__`. */
  readonly label: string;
  readonly probability: number;
}

export interface FastTextModel {
  readonly labels: readonly string[];
  /** Numbers in a vector. */
  readonly dimension: number;
  /** The mean of the rows of one line of text: zeros where it has none. */
  vector(text: string): Float32Array;
  /** The `count` most probable labels of one line of text (line breaks count as spaces). */
  predict(text: string, count?: number): Prediction[];
}

/** Loads a model; throws when the file is none. */
export function readFastTextModel(path: string): FastTextModel {
  const input = new Input(readFileSync(path));
  if (input.int32() !== magic) throw new Error(`${path} is not a fastText model`);
  const version = input.int32();
  if (version !== fileVersion) throw new Error(`${path}: version ${version} of the format, ${fileVersion} is known`);
  const dimension = input.int32();
  input.skip(4 * 4); // ws, epoch, minCount, neg
  const wordNgrams = input.int32();
  const loss = input.int32();
  const kind = input.int32();
  const bucket = input.int32();
  const minn = input.int32();
  const maxn = input.int32();
  input.skip(4 + 8); // lrUpdateRate, t
  if (kind !== 3) throw new Error(`${path} holds word vectors, not a classifier`);
  if (!(loss in lossNames) || loss === 2) throw new Error(`${path}: loss ${loss} cannot be predicted from`);
  const { labels, counts, ngrams } = readDictionary(input, { wordNgrams, bucket, minn, maxn });
  const quantised = input.bool();
  const rows = quantised ? quantisedMatrix(input) : denseMatrix(input);
  const output = input.bool() && quantised ? quantisedMatrix(input) : denseMatrix(input);
  const tree = loss === 1 ? buildTree(counts) : undefined;
  const sums = new TokenSums(ngrams, rows, dimension);

  const hiddenOf = (text: string): Float32Array | undefined => {
    const hidden = new Float32Array(dimension);
    const count = sums.add(hidden, text);
    if (count === 0) return undefined;
    const scale = Math.fround(1 / count);
    for (let i = 0; i < dimension; i++) hidden[i] = (hidden[i] as number) * scale;
    return hidden;
  };
  return {
    labels,
    dimension,
    vector: (text) => hiddenOf(text) ?? new Float32Array(dimension),
    predict(text, count = 1) {
      const hidden = hiddenOf(text);
      if (!hidden) return [];
      const scores = tree ? treeScores(tree, output, hidden) : flatScores(output, hidden, labels.length, loss === 4);
      return [...scores.keys()]
        .sort((a, b) => (scores[b] as number) - (scores[a] as number))
        .slice(0, count)
        .map((id) => ({ label: labels[id] as string, probability: Math.exp(scores[id] as number) }));
    },
  };
}

/** Words and labels of a model file, and the numbers of the rows that the file left out. */
function readDictionary(
  input: Input,
  hashing: Hashing,
): { readonly labels: string[]; readonly counts: number[]; readonly ngrams: Ngrams } {
  const size = input.int32();
  input.skip(4 + 4 + 8); // numbers of words, labels and tokens
  const numPruned = input.int64();
  const words = new Map<string, number>();
  const labels: string[] = [];
  const counts: number[] = [];
  for (let i = 0; i < size; i++) {
    const word = input.word();
    const count = input.int64();
    if (input.byte() === 0) {
      words.set(word, words.size);
      continue;
    }
    const label = Buffer.from(word, 'latin1').toString('utf8');
    labels.push(label.startsWith(labelPrefix) ? label.slice(labelPrefix.length) : label);
    counts.push(count);
  }
  const pruned = numPruned >= 0 ? new Map<number, number>() : undefined;
  for (let i = 0; i < numPruned; i++) {
    const from = input.int32();
    pruned?.set(from, input.int32());
  }
  return { labels, counts, ngrams: new Ngrams(words, hashing, pruned) };
}

/**
 * Sums of rows by token. Texts repeat their words, so a token's rows are summed once and kept, found again by the hash of
 * its bytes. What is kept never changes a sum.
 */
class TokenSums {
  private readonly ngrams: Ngrams;
  private readonly rows: Matrix;
  private readonly dimension: number;
  /** Open addressing: place of a token, -1 where free. */
  private readonly table = new Int32Array(4 * maxKept).fill(-1);
  /** By place: hash, begin of its bytes, number of its rows, and their sum. The last place is for what is not kept. */
  private readonly hashes = new Int32Array(maxKept);
  private readonly starts = new Int32Array(maxKept + 1);
  private readonly counts = new Int32Array(maxKept + 1);
  private sums: Float32Array;
  private tokens: Uint8Array = new Uint8Array(1 << 16);
  private kept = 0;
  private bytes = Buffer.alloc(1 << 16);

  constructor(ngrams: Ngrams, rows: Matrix, dimension: number) {
    this.ngrams = ngrams;
    this.rows = rows;
    this.dimension = dimension;
    this.sums = new Float32Array(1024 * dimension);
  }

  /** into += rows of the text; answers how many they are. */
  add(into: Float32Array, text: string): number {
    if (this.bytes.length < 3 * text.length + endOfLine.length) this.bytes = Buffer.alloc(6 * text.length + 64);
    const { bytes, dimension, ngrams } = this;
    const length = bytes.write(text, 0, 'utf8');
    const hashes: number[] = [];
    let count = 0;
    const take = (start: number, end: number, hash: number): void => {
      const place = this.placeOf(start, end, hash);
      if (place < 0) return;
      const { sums } = this;
      for (let i = 0, from = place * dimension; i < dimension; i++) {
        into[i] = (into[i] as number) + (sums[from + i] as number);
      }
      count += this.counts[place] as number;
      if (ngrams.wordNgrams > 1) hashes.push(hash >>> 0);
    };
    let isEnded = false;
    for (let i = 0, start = 0, hash = fnvStart; i <= length && !isEnded; i++) {
      const byte = i < length ? (bytes[i] as number) : 0;
      if (!isSpace(byte)) {
        hash = fnvStep(hash, byte);
        continue;
      }
      if (i > start) {
        take(start, i, hash);
        // What stands behind a written end is another line.
        isEnded = i - start === endOfLine.length && bytes.toString('latin1', start, i) === endOfLine;
      }
      start = i + 1;
      hash = fnvStart;
    }
    if (!isEnded) {
      bytes.write(endOfLine, length, 'latin1');
      take(length, length + endOfLine.length, fnv(endOfLine));
    }
    for (const row of ngrams.rowsOfWords(hashes)) {
      addRow(into, this.rows, row);
      count++;
    }
    return count;
  }

  /** Place of a token's sum; -1: the token is passed over. */
  private placeOf(start: number, end: number, hash: number): number {
    const { bytes, table } = this;
    const mask = table.length - 1;
    let slot = Math.imul(hash, 0x9e3779b1) >>> 13;
    for (slot &= mask; (table[slot] as number) >= 0; slot = (slot + 1) & mask) {
      const place = table[slot] as number;
      if (this.hashes[place] === hash && this.isToken(place, start, end)) return place;
    }
    const token = bytes.toString('latin1', start, end);
    if (this.ngrams.isPassedOver(token)) return -1;
    if (end - start > longestKept) return this.sum(token, maxKept);
    if (this.kept === maxKept) {
      table.fill(-1);
      this.kept = 0;
      return this.placeOf(start, end, hash);
    }
    const place = this.kept++;
    const at = this.starts[place] as number;
    if (at + longestKept > this.tokens.length) this.tokens = grown(this.tokens, new Uint8Array(2 * this.tokens.length));
    for (let i = start; i < end; i++) this.tokens[at + i - start] = bytes[i] as number;
    this.starts[place + 1] = at + end - start;
    this.hashes[place] = hash;
    table[slot] = place;
    return this.sum(token, place);
  }

  private isToken(place: number, start: number, end: number): boolean {
    const { bytes, tokens } = this;
    const at = this.starts[place] as number;
    if ((this.starts[place + 1] as number) - at !== end - start) return false;
    for (let i = 0; i < end - start; i++) if (tokens[at + i] !== bytes[start + i]) return false;
    return true;
  }

  private sum(token: string, place: number): number {
    const { dimension } = this;
    const from = place * dimension;
    if (from + dimension > this.sums.length) {
      this.sums = grown(this.sums, new Float32Array(Math.max(2 * this.sums.length, from + dimension)));
    }
    const sum = this.sums.subarray(from, from + dimension).fill(0);
    const rows = this.ngrams.rowsOfToken(token);
    for (const row of rows) addRow(sum, this.rows, row);
    this.counts[place] = rows.length;
    return place;
  }
}

/** Tokens whose sums are kept, and how long the longest one is, in bytes. */
const maxKept = 1 << 17;
const longestKept = 64;

function grown<T extends Uint8Array | Float32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** Little-endian fields one after the other. */
class Input {
  private readonly bytes: Buffer;
  private at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  int32(): number {
    this.at += 4;
    return this.bytes.readInt32LE(this.at - 4);
  }

  int64(): number {
    this.at += 8;
    return Number(this.bytes.readBigInt64LE(this.at - 8));
  }

  bool(): boolean {
    return this.bytes[this.at++] !== 0;
  }

  byte(): number {
    return this.bytes[this.at++] as number;
  }

  skip(count: number): void {
    this.at += count;
  }

  take(count: number): Buffer {
    if (count < 0 || this.at + count > this.bytes.length) throw new Error('the fastText model is cut off');
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }

  floats(count: number): Float32Array {
    const bytes = this.take(4 * count);
    // A copy, since the place in the file need not be a multiple of four; every machine that runs this is little-endian.
    const copy = new Uint8Array(bytes.length);
    copy.set(bytes);
    return new Float32Array(copy.buffer);
  }

  /** Bytes up to a zero, one character per byte. */
  word(): string {
    const end = this.bytes.indexOf(0, this.at);
    const word = this.bytes.subarray(this.at, end).toString('latin1');
    this.at = end + 1;
    return word;
  }
}

/** Rows one after the other. */
interface Matrix {
  readonly columns: number;
  readonly data: Float32Array;
}

function denseMatrix(input: Input): Matrix {
  const rows = input.int64();
  const columns = input.int64();
  return { columns, data: input.floats(rows * columns) };
}

/**
 * Each row is cut into pieces, each piece is one of 256 centroids; the norm of a row may be quantised apart. Written out
 * here: files are quantised to be small to send, and adding up rows is most of the work.
 */
function quantisedMatrix(input: Input): Matrix {
  const hasNorms = input.bool();
  const rows = input.int64();
  const columns = input.int64();
  const codes = input.take(input.int32());
  const pieces = readQuantiser(input);
  const normCodes = hasNorms ? input.take(rows) : undefined;
  const norms = hasNorms ? readQuantiser(input) : undefined;
  const { numPieces, width, lastWidth, centroids } = pieces;
  if (codes.length !== rows * numPieces) throw new Error('the fastText model has codes of another size');
  const data = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const scale = norms && normCodes ? (norms.centroids[(normCodes[row] as number) * norms.lastWidth] as number) : 1;
    for (let piece = 0; piece < numPieces; piece++) {
      const last = piece === numPieces - 1;
      const code = codes[row * numPieces + piece] as number;
      const from = piece * 256 * width + code * (last ? lastWidth : width);
      const to = row * columns + piece * width;
      for (let i = 0; i < (last ? lastWidth : width); i++) data[to + i] = scale * (centroids[from + i] as number);
    }
  }
  return { columns, data };
}

interface Quantiser {
  readonly numPieces: number;
  readonly width: number;
  readonly lastWidth: number;
  readonly centroids: Float32Array;
}

function readQuantiser(input: Input): Quantiser {
  const dimension = input.int32();
  const numPieces = input.int32();
  const width = input.int32();
  const lastWidth = input.int32();
  return { numPieces, width, lastWidth, centroids: input.floats(dimension * 256) };
}

/** into += row. */
function addRow(into: Float32Array, { columns, data }: Matrix, row: number): void {
  for (let i = 0, from = row * columns; i < columns; i++) into[i] = (into[i] as number) + (data[from + i] as number);
}

function dot({ columns, data }: Matrix, row: number, vector: Float32Array): number {
  let sum = 0;
  for (let i = 0, from = row * columns; i < columns; i++) sum += (data[from + i] as number) * (vector[i] as number);
  return sum;
}

interface TreeNode {
  left: number;
  right: number;
  count: number;
}

/** The Huffman tree over label counts (descending); the first nodes are the labels. */
function buildTree(counts: readonly number[]): TreeNode[] {
  const labels = counts.length;
  const nodes = Array.from(
    { length: 2 * labels - 1 },
    (_, i): TreeNode => ({ left: -1, right: -1, count: counts[i] ?? 1e15 }),
  );
  let leaf = labels - 1;
  let inner = labels;
  const least = (): number => {
    const takeLeaf = leaf >= 0 && (nodes[leaf] as TreeNode).count < (nodes[inner] as TreeNode).count;
    return takeLeaf ? leaf-- : inner++;
  };
  for (let i = labels; i < nodes.length; i++) {
    const left = least();
    const right = least();
    nodes[i] = { left, right, count: (nodes[left] as TreeNode).count + (nodes[right] as TreeNode).count };
  }
  return nodes;
}

/** fastText adds this before every logarithm. */
const logFloor = 1e-5;

/** Logarithm of each label's probability. */
function treeScores(nodes: readonly TreeNode[], output: Matrix, hidden: Float32Array): Float64Array {
  const labels = (nodes.length + 1) / 2;
  const scores = new Float64Array(labels);
  const open: [number, number][] = [[nodes.length - 1, 0]];
  for (let next = open.pop(); next; next = open.pop()) {
    const [at, score] = next;
    const { left, right } = nodes[at] as TreeNode;
    if (left < 0) {
      scores[at] = score;
      continue;
    }
    const share = 1 / (1 + Math.exp(-dot(output, at - labels, hidden)));
    open.push([left, score + Math.log(1 - share + logFloor)], [right, score + Math.log(share + logFloor)]);
  }
  return scores;
}

function flatScores(output: Matrix, hidden: Float32Array, labels: number, independent: boolean): Float64Array {
  const values = Float64Array.from({ length: labels }, (_, id) => dot(output, id, hidden));
  if (independent) return values.map((value) => Math.log(1 / (1 + Math.exp(-value)) + logFloor));
  const largest = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = values.reduce((total, value) => total + Math.exp(value - largest), 0);
  return values.map((value) => Math.log(Math.exp(value - largest) / sum + logFloor));
}
