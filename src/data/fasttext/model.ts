// Reads fastText models (.bin and quantised .ftz, format version 12) and classifies text with them.
//
// The layout and the arithmetic follow facebookresearch/fastText (MIT): byte n-grams by FNV-1a hash, the mean of
// their rows, product-quantised matrices, and softmax or the Huffman tree of hierarchical softmax.
// Checked against the authors' own code compiled to wasm (language-id.test.ts).
//
// Does not: train (train.ts), and reads supervised models only.
import { readFileSync } from 'node:fs';
import { type Hashing, labelPrefix, Ngrams } from './ngrams.ts';

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
  const rows = quantised ? new QuantisedMatrix(input) : new DenseMatrix(input);
  const output = input.bool() && quantised ? new QuantisedMatrix(input) : new DenseMatrix(input);
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
 * Sums of rows by token. Texts repeat their words, so a token's rows are summed once and kept; what is kept never
 * changes a sum.
 */
class TokenSums {
  private readonly ngrams: Ngrams;
  private readonly rows: Matrix;
  private readonly dimension: number;
  /** Places of tokens in `kept` and `counts`. */
  private readonly places = new Map<string, number>();
  private kept: Float32Array;
  private readonly counts: Int32Array;
  private readonly scratch: Float32Array;

  constructor(ngrams: Ngrams, rows: Matrix, dimension: number) {
    this.ngrams = ngrams;
    this.rows = rows;
    this.dimension = dimension;
    this.kept = new Float32Array(1024 * dimension);
    this.counts = new Int32Array(maxKept);
    this.scratch = new Float32Array(dimension);
  }

  /** into += rows of the text; answers how many they are. */
  add(into: Float32Array, text: string): number {
    const { dimension } = this;
    let count = 0;
    const hashes: number[] = [];
    this.ngrams.eachToken(text, (token) => {
      const place = this.placeOf(token);
      const { kept } = this;
      const at = place * dimension;
      for (let i = 0; i < dimension; i++) into[i] = (into[i] as number) + (kept[at + i] as number);
      count += this.counts[place] as number;
      if (this.ngrams.wordNgrams > 1) hashes.push(this.ngrams.hashOf(token));
    });
    for (const row of this.ngrams.rowsOfWords(hashes)) {
      this.rows.addRow(into, row);
      count++;
    }
    return count;
  }

  private placeOf(token: string): number {
    const known = this.places.get(token);
    if (known !== undefined) return known;
    const { dimension, scratch } = this;
    const rows = this.ngrams.rowsOfToken(token);
    scratch.fill(0);
    for (const row of rows) this.rows.addRow(scratch, row);
    if (this.places.size >= maxKept - 1) this.places.clear();
    // A token that hardly comes again takes a place that is overwritten.
    const place = token.length <= 64 ? this.places.size + 1 : 0;
    if (place > 0) this.places.set(token, place);
    if ((place + 1) * dimension > this.kept.length) {
      const larger = new Float32Array(2 * this.kept.length);
      larger.set(this.kept);
      this.kept = larger;
    }
    this.kept.set(scratch, place * dimension);
    this.counts[place] = rows.length;
    return place;
  }
}

const maxKept = 1 << 17;

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
    return Float32Array.from({ length: count }, (_, i) => bytes.readFloatLE(4 * i));
  }

  /** Bytes up to a zero, one character per byte. */
  word(): string {
    const end = this.bytes.indexOf(0, this.at);
    const word = this.bytes.subarray(this.at, end).toString('latin1');
    this.at = end + 1;
    return word;
  }
}

interface Matrix {
  /** into += row. */
  addRow(into: Float32Array, row: number): void;
}

class DenseMatrix implements Matrix {
  private readonly columns: number;
  private readonly data: Float32Array;

  constructor(input: Input) {
    const rows = input.int64();
    this.columns = input.int64();
    this.data = input.floats(rows * this.columns);
  }

  addRow(into: Float32Array, row: number): void {
    const at = row * this.columns;
    for (let i = 0; i < this.columns; i++) into[i] = (into[i] as number) + (this.data[at + i] as number);
  }
}

/** Each row is cut into pieces, each piece is one of 256 centroids; the norm of a row may be quantised apart. */
class QuantisedMatrix implements Matrix {
  private readonly codes: Buffer;
  private readonly pieces: ProductQuantiser;
  private readonly normCodes: Buffer | undefined;
  private readonly norms: ProductQuantiser | undefined;

  constructor(input: Input) {
    const hasNorms = input.bool();
    const rows = input.int64();
    input.skip(8);
    this.codes = input.take(input.int32());
    this.pieces = new ProductQuantiser(input);
    if (hasNorms) {
      this.normCodes = input.take(rows);
      this.norms = new ProductQuantiser(input);
    }
  }

  addRow(into: Float32Array, row: number): void {
    const norm = this.norms && this.normCodes ? this.norms.first(this.normCodes[row] as number) : 1;
    this.pieces.add(into, this.codes, row, norm);
  }
}

class ProductQuantiser {
  private readonly numPieces: number;
  private readonly width: number;
  private readonly lastWidth: number;
  private readonly centroids: Float32Array;

  constructor(input: Input) {
    const dimension = input.int32();
    this.numPieces = input.int32();
    this.width = input.int32();
    this.lastWidth = input.int32();
    this.centroids = input.floats(dimension * 256);
  }

  first(code: number): number {
    return this.centroids[code * this.lastWidth] as number;
  }

  add(into: Float32Array, codes: Buffer, row: number, scale: number): void {
    for (let piece = 0; piece < this.numPieces; piece++) {
      const width = piece === this.numPieces - 1 ? this.lastWidth : this.width;
      const from = piece * 256 * this.width + (codes[this.numPieces * row + piece] as number) * width;
      const to = piece * this.width;
      for (let i = 0; i < width; i++) {
        into[to + i] = (into[to + i] as number) + Math.fround(scale * (this.centroids[from + i] as number));
      }
    }
  }
}

function dot(matrix: Matrix, row: number, vector: Float32Array): number {
  const values = new Float32Array(vector.length);
  matrix.addRow(values, row);
  let sum = 0;
  for (let i = 0; i < vector.length; i++) sum += (values[i] as number) * (vector[i] as number);
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
