// Reads fastText models (.bin and quantised .ftz, format version 12) and classifies text with them.
//
// The layout and the arithmetic follow facebookresearch/fastText (MIT): byte n-grams by FNV-1a hash, the mean of
// their rows, product-quantised matrices, and softmax or the Huffman tree of hierarchical softmax.
// Checked against the authors' own code compiled to wasm (language-id.test.ts).
//
// Does not: train, and reads supervised models only.
import { readFileSync } from 'node:fs';

/** FASTTEXT_FILEFORMAT_MAGIC_INT32 */
const magic = 793712314;
const fileVersion = 12;
const lossNames = { 1: 'hierarchical softmax', 2: 'negative sampling', 3: 'softmax', 4: 'one against all' } as const;

export interface Prediction {
  /** Without the prefix `__label__`. */
  readonly label: string;
  readonly probability: number;
}

export interface FastTextModel {
  readonly labels: readonly string[];
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
  const dictionary = new Dictionary(input, { wordNgrams, bucket, minn, maxn });
  const quantised = input.bool();
  const rows = quantised ? new QuantisedMatrix(input) : new DenseMatrix(input);
  const output = input.bool() && quantised ? new QuantisedMatrix(input) : new DenseMatrix(input);
  const tree = loss === 1 ? buildTree(dictionary.labelCounts) : undefined;

  return {
    labels: dictionary.labels,
    predict(text, count = 1) {
      const ids = dictionary.ngramsOf(text);
      if (ids.length === 0) return [];
      const hidden = new Float32Array(dimension);
      for (const id of ids) rows.addRow(hidden, id);
      for (let i = 0; i < dimension; i++) hidden[i] = Math.fround((hidden[i] as number) * Math.fround(1 / ids.length));
      const scores = tree
        ? treeScores(tree, output, hidden)
        : flatScores(output, hidden, dictionary.labels.length, loss === 4);
      return [...scores.keys()]
        .sort((a, b) => (scores[b] as number) - (scores[a] as number))
        .slice(0, count)
        .map((id) => ({ label: dictionary.labels[id] as string, probability: Math.exp(scores[id] as number) }));
    },
  };
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

interface Hashing {
  readonly wordNgrams: number;
  readonly bucket: number;
  readonly minn: number;
  readonly maxn: number;
}

/** Words, labels and the hashing of what is neither. Strings here hold one UTF-8 byte per character. */
class Dictionary {
  readonly labels: string[] = [];
  readonly labelCounts: number[] = [];
  private readonly words = new Map<string, number>();
  private readonly hashing: Hashing;
  private readonly pruned: Map<number, number> | undefined;
  /** Rows of a word, by its bytes: texts repeat their words. */
  private readonly cache = new Map<string, Int32Array>();

  constructor(input: Input, hashing: Hashing) {
    this.hashing = hashing;
    const size = input.int32();
    input.skip(4 + 4 + 8); // numbers of words, labels and tokens
    const numPruned = input.int64();
    for (let i = 0; i < size; i++) {
      const word = input.word();
      const count = input.int64();
      if (input.byte() === 0) {
        this.words.set(word, this.words.size);
      } else {
        this.labels.push(
          Buffer.from(word, 'latin1')
            .toString('utf8')
            .replace(/^__label__/, ''),
        );
        this.labelCounts.push(count);
      }
    }
    if (numPruned >= 0) this.pruned = new Map();
    for (let i = 0; i < numPruned; i++) {
      const from = input.int32();
      this.pruned?.set(from, input.int32());
    }
  }

  /** Row numbers of the input matrix for a text. */
  ngramsOf(text: string): number[] {
    const ids: number[] = [];
    const hashes: number[] = [];
    const bytes = Buffer.from(text, 'utf8').toString('latin1');
    // A line ends with the token </s>, written out or not.
    for (const token of [...bytes.split(/[ \n\r\t\v\f\0]+/), endOfLine]) {
      if (token === '') continue;
      if (token.startsWith('__label__') && !this.words.has(token)) continue;
      for (const id of this.rowsOf(token)) ids.push(id);
      if (this.hashing.wordNgrams > 1) hashes.push(fnv(token));
      if (token === endOfLine) break;
    }
    if (hashes.length > 1) this.addWordNgrams(ids, hashes);
    return ids;
  }

  private rowsOf(token: string): Int32Array {
    const known = this.cache.get(token);
    if (known) return known;
    const ids: number[] = [];
    const word = this.words.get(token);
    if (word !== undefined) ids.push(word);
    if (this.hashing.maxn > 0 && token !== endOfLine) this.addSubwords(ids, `<${token}>`);
    const rows = Int32Array.from(ids);
    if (token.length <= 64) {
      if (this.cache.size >= 100_000) this.cache.clear();
      this.cache.set(token, rows);
    }
    return rows;
  }

  private addSubwords(ids: number[], word: string): void {
    const { minn, maxn, bucket } = this.hashing;
    for (let i = 0; i < word.length; i++) {
      if (isContinuation(word, i)) continue;
      let hash = fnvStart;
      for (let j = i, n = 1; j < word.length && n <= maxn; n++) {
        hash = fnvStep(hash, word.charCodeAt(j++));
        while (j < word.length && isContinuation(word, j)) hash = fnvStep(hash, word.charCodeAt(j++));
        if (n >= minn && !(n === 1 && (i === 0 || j === word.length))) this.addHash(ids, (hash >>> 0) % bucket);
      }
    }
  }

  private addWordNgrams(ids: number[], hashes: readonly number[]): void {
    for (let i = 0; i < hashes.length; i++) {
      let hash = BigInt((hashes[i] as number) | 0);
      for (let j = i + 1; j < hashes.length && j < i + this.hashing.wordNgrams; j++) {
        hash = BigInt.asUintN(64, hash * 116049371n + BigInt((hashes[j] as number) | 0));
        this.addHash(ids, Number(hash % BigInt(this.hashing.bucket)));
      }
    }
  }

  private addHash(ids: number[], hash: number): void {
    const id = this.pruned && this.pruned.size > 0 ? this.pruned.get(hash) : this.pruned ? undefined : hash;
    if (id !== undefined) ids.push(this.words.size + id);
  }
}

const endOfLine = '</s>';
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
